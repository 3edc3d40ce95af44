//! How far a call is that takes long, for whoever looks meanwhile.
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

/// Bytes that calls have worked on so far. Documented in `_core.pyi`.
#[pyclass(frozen, module = "hyrun._core")]
#[derive(Debug, Default)]
pub struct Meter {
    count: AtomicU64,
}

#[pymethods]
impl Meter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Meter {
    /// Count some more.
    pub(crate) fn add(&self, bytes: usize) {
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
