//! The Spec classes: a whole container as Python describes it. Frozen, keyword-only, nothing left to look up.
//! What the fields mean is written in `_core.pyi`.

use std::ffi::OsString;

use pyo3::prelude::*;

/// The root file system as layers.
#[pyclass(frozen, get_all, from_py_object, module = "hyrun._core")]
#[derive(Clone, Debug)]
pub struct Overlay {
    pub(crate) lowerdirs: Vec<OsString>,
    pub(crate) upperdir: OsString,
    pub(crate) workdir: OsString,
    pub(crate) volatile: bool,
}

#[pymethods]
impl Overlay {
    #[new]
    #[pyo3(signature = (*, lowerdirs, upperdir, workdir, volatile=false))]
    fn new(lowerdirs: Vec<OsString>, upperdir: OsString, workdir: OsString, volatile: bool) -> Self {
        Self { lowerdirs, upperdir, workdir, volatile }
    }
}

/// A host directory or file mounted inside the root.
#[pyclass(frozen, get_all, from_py_object, module = "hyrun._core")]
#[derive(Clone, Debug)]
pub struct Bind {
    pub(crate) source: OsString,
    pub(crate) target: OsString,
    pub(crate) read_only: bool,
    pub(crate) read_only_recursive: bool,
    pub(crate) recursive: bool,
    pub(crate) nodev: bool,
    pub(crate) propagation: String,
}

#[pymethods]
impl Bind {
    #[new]
    #[pyo3(signature = (*, source, target, read_only=false, read_only_recursive=true, recursive=true, nodev=false,
                        propagation="rprivate".to_owned()))]
    fn new(
        source: OsString,
        target: OsString,
        read_only: bool,
        read_only_recursive: bool,
        recursive: bool,
        nodev: bool,
        propagation: String,
    ) -> Self {
        Self { source, target, read_only, read_only_recursive, recursive, nodev, propagation }
    }
}

/// An empty tmpfs inside the root.
#[pyclass(frozen, get_all, from_py_object, module = "hyrun._core")]
#[derive(Clone, Debug)]
pub struct Tmpfs {
    pub(crate) target: OsString,
    pub(crate) options: Vec<OsString>,
    pub(crate) read_only: bool,
    pub(crate) nosuid: bool,
    pub(crate) nodev: bool,
    pub(crate) noexec: bool,
}

#[pymethods]
impl Tmpfs {
    #[new]
    #[pyo3(signature = (*, target, options=Vec::new(), read_only=false, nosuid=true, nodev=true, noexec=true))]
    fn new(target: OsString, options: Vec<OsString>, read_only: bool, nosuid: bool, nodev: bool, noexec: bool) -> Self {
        Self { target, options, read_only, nosuid, nodev, noexec }
    }
}

/// A small file that exists for this container only.
#[pyclass(frozen, get_all, from_py_object, module = "hyrun._core")]
#[derive(Clone, Debug)]
pub struct File {
    pub(crate) target: OsString,
    pub(crate) content: Vec<u8>,
}

#[pymethods]
impl File {
    #[new]
    #[pyo3(signature = (*, target, content))]
    fn new(target: OsString, content: Vec<u8>) -> Self {
        Self { target, content }
    }

    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> Bound<'py, pyo3::types::PyBytes> {
        pyo3::types::PyBytes::new(py, &self.content)
    }
}

/// One of the two kinds of mounts that a user can ask for.
#[derive(Clone, Debug, FromPyObject, IntoPyObject)]
pub enum Mount {
    /// `-v`, `--mount type=bind|volume`
    Bind(Bind),
    /// `--tmpfs`, `--mount type=tmpfs`
    Tmpfs(Tmpfs),
}

/// Where the container's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A network namespace of its own with `lo` and nothing else.
    None,
    /// The caller's.
    Host,
}

/// A whole container.
#[pyclass(frozen, get_all, module = "hyrun._core")]
#[derive(Debug)]
pub struct Spec {
    pub(crate) rootfs: Overlay,
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<OsString>,
    pub(crate) cwd: OsString,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) hostname: OsString,
    pub(crate) network: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) files: Vec<File>,
    pub(crate) masked_paths: Vec<OsString>,
    pub(crate) readonly_paths: Vec<OsString>,
    pub(crate) read_only: bool,
    pub(crate) capabilities: u64,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: bool,
    pub(crate) stdin: i32,
    pub(crate) stdout: i32,
    pub(crate) stderr: i32,
    pub(crate) die_with_parent: bool,
    pub(crate) tty: bool,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) init: bool,
}

#[pymethods]
impl Spec {
    #[new]
    #[pyo3(signature = (*, rootfs, argv, env=Vec::new(), cwd=OsString::from("/"), uid=0, gid=0, groups=Vec::new(),
                        hostname=OsString::new(), network="none".to_owned(), mounts=Vec::new(), files=Vec::new(),
                        masked_paths=Vec::new(), readonly_paths=Vec::new(), read_only=false, capabilities=0,
                        no_new_privileges=true, seccomp=true, stdin=0, stdout=1, stderr=2, die_with_parent=true,
                        tty=false, rows=0, columns=0, init=false))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only: the fields of one struct")]
    fn new(
        rootfs: Overlay,
        argv: Vec<OsString>,
        env: Vec<OsString>,
        cwd: OsString,
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
        hostname: OsString,
        network: String,
        mounts: Vec<Mount>,
        files: Vec<File>,
        masked_paths: Vec<OsString>,
        readonly_paths: Vec<OsString>,
        read_only: bool,
        capabilities: u64,
        no_new_privileges: bool,
        seccomp: bool,
        stdin: i32,
        stdout: i32,
        stderr: i32,
        die_with_parent: bool,
        tty: bool,
        rows: u16,
        columns: u16,
        init: bool,
    ) -> Self {
        Self {
            rootfs,
            argv,
            env,
            cwd,
            uid,
            gid,
            groups,
            hostname,
            network,
            mounts,
            files,
            masked_paths,
            readonly_paths,
            read_only,
            capabilities,
            no_new_privileges,
            seccomp,
            stdin,
            stdout,
            stderr,
            die_with_parent,
            tty,
            rows,
            columns,
            init,
        }
    }
}
