//! Files that are there whole or not at all.

use std::{
    io::{self, Write},
    path::Path,
};

use tempfile::NamedTempFile;

use crate::error::Failure;

/// Puts a new file, of mode 0600, in the place of what was there.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |why: String| Failure::failed(format!("cannot write {}: {why}", path.display()));
    if !dir.is_dir() {
        return Err(cannot(format!("there is no directory {}", dir.display())));
    }
    // By its kind: its text names the file that was to be renamed.
    replace(path, dir, content).map_err(|error| cannot(io::Error::from(error.kind()).to_string()))
}

fn replace(path: &Path, dir: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
