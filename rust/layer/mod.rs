//! Layers: an OCI layer tar becomes a directory that overlayfs takes as a lowerdir.
//!
//! Stages, each reading from the one before: [`input`] (bytes and digest), [`decoder`] (decompression, limits),
//! [`source`] (plain bytes, diff id), [`reader`] (tar headers to entries), [`unpack`] (entries to files below one
//! descriptor). [`pipeline`] gives the stages of a large layer a thread each; docs/layers.md has the rules.
//! And back: [`pack`] (a tree to headers and contents) or [`recipe`] (the tar that a layer was unpacked from), then
//! [`output`] (digests, bytes) through an [`encoder`]. [`changes`] compares a writable layer with what is below it.
//! Source: OCI image-spec, layer.md; kernel, filesystems/overlayfs.rst.
mod attributes;
mod changes;
mod chunk;
mod content;
mod decoder;
mod deflate;
mod encoder;
mod entry;
mod error;
mod frame;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gzip;
mod header;
mod holes;
mod input;
pub mod integrity;
mod manifest;
mod memory;
pub mod meter;
mod names;
mod node;
mod number;
mod output;
mod pack;
pub mod packing;
mod parents;
mod path;
mod pax;
mod pipeline;
mod pool;
pub mod python;
mod reader;
mod recipe;
mod source;
mod sparse;
mod unpack;
mod whiteout;
mod zstd;

/// The limits of one layer. A layer that passes one is refused, never cut.
mod limits {
    /// Entries: the largest images have a few hundred thousand files in all; each one costs an inode.
    pub(super) const ENTRIES: u64 = 2_000_000;
    /// Bytes of the plain tar, and of all files' lengths with their holes.
    pub(super) const SIZE: u64 = 1 << 40;
    /// More plain bytes per compressed byte than this, from so many plain bytes on, is a bomb. Deflate cannot
    /// pass 1032, so the second row is the one for gzip; real layers stay below 100.
    pub(super) const RATIOS: [(u64, u64); 2] = [(64 << 20, 2000), (1 << 30, 500)];
    /// What is compressed here stays below all of them: pieces that get shorter are padded.
    pub(super) const WRITTEN: usize = 400;
    /// The payload of one PAX header or GNU long name, which is read into memory.
    pub(super) const EXTENSION: u64 = 1 << 20;
    /// Bytes behind the end of the archive. Tapes pad by 10 KiB; endless zeros begin with an end as well.
    pub(super) const TRAILING: u64 = 64 << 20;
    /// One component of a path (NAME_MAX).
    pub(super) const NAME: usize = 255;
    /// A path or a link target (PATH_MAX without its NUL).
    pub(super) const PATH: usize = 4095;
    /// Components of a path, and symlinks met while one is resolved (the kernel's own 40).
    pub(super) const DEPTH: usize = 255;
    pub(super) const SYMLINKS: usize = 40;
    /// Names of directories that are remembered until their times are set.
    pub(super) const REMEMBERED: usize = 64 << 20;
    /// Window of a zstd frame: zstd's own default limit (zstd(1), --long).
    pub(super) const WINDOW: u64 = 128 << 20;
    /// The widest window for the decoder that keeps two of them in memory.
    pub(super) const NARROW: u64 = 32 << 20;
    /// A stored layer up to this length is unpacked by the thread that asks: threads would take longer to start.
    pub(super) const SMALL: u64 = 128 << 10;
    /// Extents of one sparse file.
    pub(super) const EXTENTS: usize = 65_536;
}
