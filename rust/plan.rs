//! Spec → Plan: C strings, integers and one ordered list of steps. Pure: it allocates and checks, and does nothing.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use nix::libc;

use crate::application::{self, Application, flag};
use crate::mount::{self, BindAttributes, New};
use crate::spec::{self, Mount, Network, Spec};
use crate::step::{Step, text};
use crate::sys::attribute::{NODEV, NOEXEC, NOSUID, RDONLY};

/// Everything that one spawn needs.
pub struct Plan {
    /// What the child does, in this order.
    pub steps: Vec<Step>,
    /// The CLONE_NEW* flags.
    pub namespaces: libc::c_int,
    /// How many sources of volumes are held open at once.
    pub slots: usize,
    /// hyrun-init's arguments behind the report descriptor, then the application's.
    pub arguments: Vec<CString>,
    /// The application's environment.
    pub environment: Vec<CString>,
    /// The socket by which the terminal's master comes out; hyrun-init needs it.
    pub terminal: Option<RawFd>,
}

/// What cannot be planned: a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

/// What planning comes to.
pub type Result<T> = std::result::Result<T, Invalid>;

const HOST_NAME_MAX: usize = 64;

impl Plan {
    /// Check a spec and lay it out. `terminal` is the socket for a container with a terminal.
    pub fn new(spec: &Spec, terminal: Option<RawFd>) -> Result<Self> {
        let network = match spec.network.as_str() {
            "none" => Network::None,
            "host" => Network::Host,
            other => return Err(Invalid(format!("network {other:?}: choose none or host"))),
        };
        if spec.argv.is_empty() {
            return Err(Invalid("no command: argv is empty".to_owned()));
        }
        let mut namespaces =
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWCGROUP;
        if network == Network::None {
            namespaces |= libc::CLONE_NEWNET;
        }
        if spec.tty && spec.mounts.iter().any(|mount| matches!(target_of(mount).as_bytes(), b"/dev" | b"/dev/pts")) {
            return Err(Invalid("a terminal needs the container's own /dev/pts: leave out the mount there".to_owned()));
        }
        let mut arguments = Application {
            uid: spec.uid,
            gid: spec.gid,
            groups: &spec.groups,
            capabilities: spec.capabilities,
            flags: flag(spec.no_new_privileges, application::NO_NEW_PRIVILEGES)
                | flag(spec.die_with_parent, application::DIE_WITH_PARENT)
                | flag(spec.seccomp, application::SECCOMP)
                | flag(spec.init, application::REAP),
            terminal,
            rows: spec.rows,
            columns: spec.columns,
        }
        .arguments()?;
        for argument in &spec.argv {
            arguments.push(string("argv", argument)?);
        }
        let environment = spec.env.iter().map(|entry| string("env", entry)).collect::<Result<_>>()?;
        let binds = spec.mounts.iter().filter(|mount| matches!(mount, Mount::Bind(_))).count();
        Ok(Self { steps: steps(spec, network)?, namespaces, slots: binds, arguments, environment, terminal })
    }

    /// The steps as sentences.
    pub fn describe(&self) -> Vec<String> {
        self.steps.iter().map(Step::describe).collect()
    }

    /// Where the volume goes whose source is opened by the step at `index`.
    pub fn target_of_source(&self, index: usize) -> Option<String> {
        let Some(Step::OpenSource { slot: wanted, .. }) = self.steps.get(index) else {
            return None;
        };
        self.steps.iter().find_map(|step| match step {
            Step::Bind { slot, target, .. } if slot == wanted => Some(text(target).into_owned()),
            _ => None,
        })
    }

    /// The application's argv[0].
    pub fn command(&self) -> Option<&CStr> {
        self.arguments.get(application::COUNT).map(CString::as_c_str)
    }

    /// The application's PATH.
    pub fn path(&self) -> Option<String> {
        application::path(&self.environment)
    }
}

/// The order of events between clone and execve.
fn steps(spec: &Spec, network: Network) -> Result<Vec<Step>> {
    let mut steps = vec![Step::NewSession];
    if network == Network::None {
        steps.push(Step::LoopbackUp);
    }
    sources(spec, &mut steps)?;
    steps.push(Step::PrivatePropagation);
    steps.push(Step::MountOverlay(overlay(&spec.rootfs)?));
    kernel_file_systems(spec, &mut steps);
    volumes(spec, &mut steps)?;
    files(spec, &mut steps)?;
    let cwd = absolute("cwd", &spec.cwd)?;
    steps.push(Step::MakeCwd { path: cwd.clone() });
    for path in &spec.masked_paths {
        steps.push(Step::Mask { path: absolute("masked path", path)? });
    }
    for path in &spec.readonly_paths {
        steps.push(Step::Protect { path: absolute("read-only path", path)? });
    }
    if spec.read_only {
        steps.push(Step::ReadOnlyRoot);
    }
    if !spec.hostname.is_empty() {
        if spec.hostname.len() > HOST_NAME_MAX {
            return Err(Invalid(format!("hostname {}: more than 64 bytes", spec.hostname.display())));
        }
        steps.push(Step::Hostname { name: string("hostname", &spec.hostname)? });
    }
    steps.push(Step::Pivot);
    steps.push(Step::EnterCwd { path: cwd });
    // With a terminal hyrun-init opens it and puts it in their place.
    let [stdin, stdout, stderr] = if spec.tty { [-1; 3] } else { [spec.stdin, spec.stdout, spec.stderr] };
    steps.push(Step::Stdio { stdin, stdout, stderr });
    steps.push(Step::Hop);
    Ok(steps)
}

/// Volumes' sources are opened before the tree becomes private, or `rshared` would have no peer on the host.
fn sources(spec: &Spec, steps: &mut Vec<Step>) -> Result<()> {
    let mut slot = 0;
    for mount in &spec.mounts {
        if let Mount::Bind(bind) = mount {
            let source = absolute("source of a mount", &bind.source)?;
            steps.push(Step::OpenSource { source, recursive: bind.recursive, slot });
            slot += 1;
        }
    }
    if !spec.masked_paths.is_empty() {
        steps.push(Step::OpenNull);
    }
    Ok(())
}

fn overlay(rootfs: &spec::Overlay) -> Result<mount::Overlay> {
    if rootfs.lowerdirs.is_empty() {
        return Err(Invalid("rootfs: no lowerdirs".to_owned()));
    }
    Ok(mount::Overlay {
        lowerdirs: rootfs.lowerdirs.iter().map(|path| absolute("lowerdir", path)).collect::<Result<_>>()?,
        upperdir: absolute("upperdir", &rootfs.upperdir)?,
        workdir: absolute("workdir", &rootfs.workdir)?,
        volatile: rootfs.volatile,
        append: kernel_version() >= (6, 5),
    })
}

const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];

/// `/dev/console` leads to the first terminal of the container's own devpts; without one it leads nowhere.
const LINKS: [(&CStr, &CStr); 7] = [
    (c"dev/ptmx", c"pts/ptmx"),
    (c"dev/console", c"pts/0"),
    (c"dev/fd", c"/proc/self/fd"),
    (c"dev/stdin", c"/proc/self/fd/0"),
    (c"dev/stdout", c"/proc/self/fd/1"),
    (c"dev/stderr", c"/proc/self/fd/2"),
    (c"dev/core", c"/proc/kcore"),
];

/// `/proc`, `/sys` and a `/dev` of the container's own; what the user mounts at the same place replaces them.
fn kernel_file_systems(spec: &Spec, steps: &mut Vec<Step>) {
    let taken = |target: &str| spec.mounts.iter().any(|mount| target_of(mount).as_bytes() == target.as_bytes());
    let mount = |kind: &'static CStr, target: &CStr, attributes: u64, options: &[(&CStr, Option<&CStr>)]| {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), value.map(CStr::to_owned))).collect();
        Step::MountKernel { new: New { kind, options, attributes }, target: target.to_owned() }
    };
    let locked = NOSUID | NODEV | NOEXEC;
    steps.push(mount(c"proc", c"proc", locked, &[]));
    if !taken("/sys") {
        steps.push(mount(c"sysfs", c"sys", locked | RDONLY, &[]));
    }
    let sizes = [(c"mode", Some(c"755")), (c"size", Some(c"65536k"))];
    steps.push(mount(c"tmpfs", c"dev", NOSUID, &sizes));
    for (path, major, minor) in DEVICES {
        steps.push(Step::Device { path: path.to_owned(), major, minor });
    }
    for (path, content) in LINKS {
        steps.push(Step::Link { path: path.to_owned(), content: content.to_owned() });
    }
    steps.push(Step::OpenOwnNull);
    if taken("/dev") {
        // A mount on /dev comes on top of this one and brings its own.
        return;
    }
    let pts = [(c"newinstance", None), (c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620")), (c"gid", Some(c"5"))];
    let shm = [(c"mode", Some(c"1777")), (c"size", Some(c"65536k"))];
    for (kind, name, target, attributes, options) in [
        (c"devpts", c"dev/pts", "/dev/pts", NOSUID | NOEXEC, &pts[..]),
        (c"tmpfs", c"dev/shm", "/dev/shm", locked, &shm[..]),
        (c"mqueue", c"dev/mqueue", "/dev/mqueue", locked, &[]),
    ] {
        if !taken(target) {
            steps.push(Step::Directory { path: name.to_owned() });
            steps.push(mount(kind, name, attributes, options));
        }
    }
}

fn target_of(mount: &Mount) -> &OsStr {
    match mount {
        Mount::Bind(bind) => &bind.target,
        Mount::Tmpfs(tmpfs) => &tmpfs.target,
    }
}

/// In the order of the depth of their targets: a mount never hides one that came before it.
fn volumes(spec: &Spec, steps: &mut Vec<Step>) -> Result<()> {
    let mut slot = 0;
    let mut mounts = Vec::with_capacity(spec.mounts.len());
    for mount in &spec.mounts {
        let depth = target_of(mount).as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty()).count();
        let step = match mount {
            Mount::Bind(bind) => {
                slot += 1;
                bind_step(bind, slot - 1)?
            }
            Mount::Tmpfs(tmpfs) => tmpfs_step(tmpfs)?,
        };
        mounts.push((depth, step));
    }
    mounts.sort_by_key(|(depth, _)| *depth);
    steps.extend(mounts.into_iter().map(|(_, step)| step));
    Ok(())
}

fn bind_step(bind: &spec::Bind, slot: usize) -> Result<Step> {
    let (propagation, propagation_recursive) = match bind.propagation.as_str() {
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        other => {
            return Err(Invalid(format!("propagation {other:?}: choose [r]private, [r]slave or [r]shared")));
        }
    };
    let mut attributes = 0;
    if bind.read_only {
        attributes |= RDONLY;
    }
    if bind.nodev {
        attributes |= NODEV;
    }
    Ok(Step::Bind {
        source: absolute("source of a mount", &bind.source)?,
        target: absolute("target of a mount", &bind.target)?,
        slot,
        attributes: BindAttributes {
            attributes,
            recursive: bind.recursive && bind.read_only_recursive,
            propagation,
            propagation_recursive,
        },
    })
}

fn tmpfs_step(tmpfs: &spec::Tmpfs) -> Result<Step> {
    let mut attributes = 0;
    for (wanted, attribute) in
        [(tmpfs.read_only, RDONLY), (tmpfs.nosuid, NOSUID), (tmpfs.nodev, NODEV), (tmpfs.noexec, NOEXEC)]
    {
        if wanted {
            attributes |= attribute;
        }
    }
    let mut options = Vec::with_capacity(tmpfs.options.len());
    for option in &tmpfs.options {
        let option = string("tmpfs option", option)?;
        let mut parts = option.to_bytes().splitn(2, |&byte| byte == b'=');
        let part = |bytes: &[u8]| CString::new(bytes).map_err(|_| Invalid("tmpfs option: a NUL byte".to_owned()));
        let key = part(parts.next().unwrap_or_default())?;
        options.push((key, parts.next().map(part).transpose()?));
    }
    Ok(Step::MountTmpfs {
        new: New { kind: c"tmpfs", options, attributes },
        target: absolute("target of a mount", &tmpfs.target)?,
    })
}

/// Files come after the volumes, so that a volume on `/etc` keeps the container's own `/etc/hosts`.
fn files(spec: &Spec, steps: &mut Vec<Step>) -> Result<()> {
    let mut attach = Some(absolute("workdir", &spec.rootfs.workdir)?);
    for (index, file) in spec.files.iter().enumerate() {
        if spec.mounts.iter().any(|mount| target_of(mount) == file.target) {
            continue;
        }
        if let Some(attach) = attach.take() {
            steps.push(Step::MountFiles { attach });
        }
        let name = CString::new(index.to_string()).unwrap_or_default();
        let target = absolute("target of a file", &file.target)?;
        steps.push(Step::File { target, name, content: file.content.clone() });
    }
    Ok(())
}

/// A C string; `what` names it in the error.
pub fn string(what: &str, text: &OsString) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Invalid(format!("{what} {text:?}: contains a NUL byte")))
}

/// A C string that is an absolute path.
pub fn absolute(what: &str, path: &OsString) -> Result<CString> {
    if path.as_bytes().first() != Some(&b'/') {
        return Err(Invalid(format!("{what} {path:?}: must be absolute")));
    }
    string(what, path)
}

/// (major, minor) of the running kernel; (0, 0) when it does not say.
pub fn kernel_version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let Ok(name) = nix::sys::utsname::uname() else {
            return (0, 0);
        };
        let release = name.release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    })
}
