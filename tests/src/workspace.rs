//! What the suite runs: built once, with the profile of the suite itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The local runtime's binary, with those of the functions and the operators' command line beside it.
///
/// # Panics
/// They cannot be built; cargo's own lines say why.
#[must_use]
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref().unwrap_or_else(|why| panic!("{why}"))
}

fn build() -> Result<PathBuf, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).arg("build").arg("--profile");
    // The workspace's default members are all that this suite runs.
    cargo.arg(if cfg!(debug_assertions) { "dev" } else { "release" });
    let built = cargo.stdin(Stdio::null()).status().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !built.success() {
        return Err("the local runtime and the functions could not be built".to_owned());
    }
    // This test stands in `deps`, below the directory of the binaries.
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = own.parent().and_then(Path::parent).ok_or("the directory of the binaries is not known")?;
    Ok(directory.join("local"))
}
