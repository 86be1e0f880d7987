//! Where CUDA's libraries lie: the linker's folders, `VATIC_CUDA_PATH`, the toolkit, and the wheels of a Python
//! environment.

use std::env;
use std::ffi::{OsStr, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library as Opened, RTLD_GLOBAL, RTLD_NOW};

/// The folders that may hold libraries of CUDA, separated by colons; they precede all other folders.
const CUDA_PATH: &str = "VATIC_CUDA_PATH";
/// Where the driver lies in containers and in WSL.
const DRIVER_FOLDERS: &[&str] = &["/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"];
const TOOLKIT_FOLDERS: &[&str] = &[
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
];

/// A library of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The driver.
    Cuda,
    /// Matrix products.
    Cublas,
    /// Matrix products with fused steps; [`Library::Cublas`] needs it.
    CublasLt,
    /// Random numbers.
    Curand,
}

impl Library {
    /// The name of the file, with the version of its interface.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Cuda => "libcuda.so.1",
            Self::Cublas => "libcublas.so.13",
            Self::CublasLt => "libcublasLt.so.13",
            Self::Curand => "libcurand.so.10",
        }
    }
}

/// An opened library. It stays open for the life of the process, as calls of its functions may come at any time.
pub(crate) struct OpenedLibrary {
    pub(crate) library: Library,
    pub(crate) file: String,
    handle: ManuallyDrop<Opened>,
}

impl OpenedLibrary {
    /// The address of a function.
    pub(crate) fn function(&self, name: &str) -> Option<*mut c_void> {
        // SAFETY: only the address is taken here; cudarc, which calls the function, declares its type.
        let symbol = unsafe { self.handle.get::<*mut c_void>(name.as_bytes()) };
        symbol
            .ok()
            .map(|symbol| symbol.into_raw())
            .filter(|address| !address.is_null())
    }
}

/// Opens the libraries of `wanted`, each once.
///
/// # Errors
/// A sentence that names the library that is missing, and says where it was looked for.
pub(crate) fn open(wanted: impl Iterator<Item = Library>) -> Result<Vec<OpenedLibrary>, String> {
    // cuBLAS uses cublasLt, which must be open first if it lies in another folder.
    let mut libraries = vec![Library::Cuda, Library::CublasLt];
    wanted.for_each(|library| {
        if !libraries.contains(&library) {
            libraries.push(library);
        }
    });
    libraries.into_iter().map(open_one).collect()
}

fn open_one(library: Library) -> Result<OpenedLibrary, String> {
    let name = library.file_name();
    let mut files = vec![];
    files.extend(named_folders().into_iter().map(|folder| folder.join(name)));
    // The linker's own search.
    files.push(PathBuf::from(name));
    files.extend(folders(library).into_iter().map(|folder| folder.join(name)));
    let mut broken = None;
    for file in files {
        let is_path = file.components().count() > 1;
        if is_path && !file.is_file() {
            continue;
        }
        // SAFETY: the initialisers of NVIDIA's libraries have no requirements.
        match unsafe { Opened::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(handle) => {
                return Ok(OpenedLibrary {
                    library,
                    file: file.display().to_string(),
                    handle: ManuallyDrop::new(handle),
                });
            }
            Err(error) if is_path => {
                broken = broken.or(Some(format!("{}: {error}", file.display())))
            }
            Err(_) => {}
        }
    }
    Err(broken.unwrap_or_else(|| match library {
        Library::Cuda => format!("{name} is missing; install NVIDIA's driver"),
        _ => format!(
            "{name} is missing; install CUDA 13, or set {CUDA_PATH} to the folder of its libraries"
        ),
    }))
}

fn named_folders() -> Vec<PathBuf> {
    env::var_os(CUDA_PATH).map_or(vec![], |folders| env::split_paths(&folders).collect())
}

/// The folders besides the linker's.
fn folders(library: Library) -> Vec<PathBuf> {
    if library == Library::Cuda {
        return DRIVER_FOLDERS.iter().map(PathBuf::from).collect();
    }
    let mut folders = vec![];
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        folders.extend(env::var_os(variable).map(|folder| Path::new(&folder).join("lib64")));
    }
    folders.extend(TOOLKIT_FOLDERS.iter().map(PathBuf::from));
    for environment in python_environments() {
        folders.extend(wheel_folders(&environment));
    }
    folders
}

/// The active Python environment, and that of the `python3` that a shell would start.
fn python_environments() -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .iter()
        .filter_map(env::var_os);
    let mut environments: Vec<PathBuf> = active.map(PathBuf::from).collect();
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).find(|folder| folder.join("python3").is_file());
    environments.extend(found.and_then(|folder| Some(folder.parent()?.to_path_buf())));
    environments
}

/// `lib/python3.*/site-packages/nvidia/*/lib`: where the wheels of NVIDIA put their libraries.
fn wheel_folders(environment: &Path) -> Vec<PathBuf> {
    let children = |folder: &Path| -> Vec<PathBuf> {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let mut children: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        children.sort();
        children
    };
    let is_python = |folder: &PathBuf| {
        let name = folder.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("python3"))
    };
    let pythons = children(&environment.join("lib"))
        .into_iter()
        .filter(is_python);
    let wheels = pythons.flat_map(|python| children(&python.join("site-packages/nvidia")));
    wheels
        .map(|wheel| wheel.join("lib"))
        .filter(|folder| folder.is_dir())
        .collect()
}
