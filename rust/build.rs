//! Placeholder until the launcher is embedded.
fn main() {}
