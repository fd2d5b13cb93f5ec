//! Where the functions' binaries are: built by cargo, or found in a directory.

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

/// A function's name and its binary.
pub(crate) type Binary = (&'static str, PathBuf);

/// Why a function has no binary.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BinariesError {
    /// cargo is not there.
    #[error("cargo was not found, which builds the functions: install Rust, or name built ones by --functions-dir")]
    NoCargo,
    /// cargo could not be run, or its output could not be read.
    #[error("cargo could not be run: {0}")]
    Io(#[from] io::Error),
    /// cargo failed.
    #[error("the functions could not be built; cargo's own lines above say why")]
    Failed,
    /// A binary is not where it should be.
    #[error("there is no binary of the function {0} in {1}")]
    Missing(&'static str, PathBuf),
}

/// What cargo reports of a built target, as far as it is read here.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The workspace that this runtime was built from.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).into()
}

/// Builds the functions with the profile this runtime was built with; cargo's progress goes to standard error.
///
/// # Errors
/// As [`BinariesError`] says.
pub(crate) fn built(names: &[&'static str]) -> Result<Vec<Binary>, BinariesError> {
    let workspace = workspace();
    // `cargo run` names itself, so that the same cargo builds the functions.
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace).args(["build", "--message-format", "json-render-diagnostics", "--profile"]);
    command.arg(if cfg!(debug_assertions) { "dev" } else { "release" });
    // Without `--package`, as `cargo run` is without: for other packages cargo would compile many dependencies again,
    // with other features.
    for name in names {
        command.args(["--bin", name]);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BinariesError::NoCargo,
            _ => BinariesError::Io(error),
        })?;
    let mut executables = match child.stdout.take() {
        Some(output) => executables(BufReader::new(output))?,
        None => BTreeMap::new(),
    };
    if !child.wait()?.success() {
        return Err(BinariesError::Failed);
    }
    names
        .iter()
        .map(|name| Ok((*name, executables.remove(*name).ok_or(BinariesError::Missing(name, workspace.clone()))?)))
        .collect()
}

/// Binaries in a directory: `DIR/name`, or `DIR/name/bootstrap` as `cargo lambda build` lays them.
///
/// # Errors
/// One of them is not there.
pub(crate) fn found_in(directory: &Path, names: &[&'static str]) -> Result<Vec<Binary>, BinariesError> {
    let find = |name: &'static str| {
        let candidates = [directory.join(name).join("bootstrap"), directory.join(name)];
        let found = candidates.into_iter().find(|path| path.is_file());
        Ok((name, found.ok_or_else(|| BinariesError::Missing(name, directory.into()))?))
    };
    names.iter().copied().map(find).collect()
}

/// Binaries beside this one, built before.
///
/// # Errors
/// One of them is not there.
pub(crate) fn found_beside(names: &[&'static str]) -> Result<Vec<Binary>, BinariesError> {
    let own = env::current_exe()?;
    found_in(own.parent().unwrap_or(Path::new(".")), names)
}

fn executables(lines: impl io::BufRead) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        if let Ok(Artifact { reason, executable: Some(path), target: Some(target) }) = serde_json::from_str(&line?)
            && reason == "compiler-artifact"
        {
            found.insert(target.name, path);
        }
    }
    Ok(found)
}
