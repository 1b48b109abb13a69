//! External tools. Python packages are installed into a virtual environment under `target/` on first use.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Reports that a test was skipped; with `CI=true` that is a failure.
pub fn skip(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped, which CI does not allow: {what}");
    eprintln!("SKIPPED: {what}");
}

/// Serializes installations.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Python with a package, such as `openai` or `schemathesis>=4,<5`, or why it is not available.
pub fn python(package: &str) -> Result<PathBuf, String> {
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("venv");
    let python = venv.join("bin/python");
    let module = package.split(['<', '>', '=']).next().unwrap_or(package).replace('-', "_");
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    if run(Command::new(&python).args(["-c", &format!("import {module}")])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]))?;
    }
    Ok(python)
}
