use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::ground::Entropy;

use super::ManagedError;

/// The key that encrypts secrets in a managed database: made once, and kept beside the data, readable
/// for nobody else. It is good against a copy of the database, not against whoever reads this machine,
/// and in no backup of the database.
pub(super) fn keep(dir: &Path, entropy: &dyn Entropy) -> Result<[u8; 32], ManagedError> {
    let path = dir.join("secret.key");
    match fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|_| ManagedError::io("use", &path)(io::Error::other("a key has 32 bytes"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; 32] = entropy.array();
            // Whole or not at all: half a key would be refused for ever.
            let fresh = dir.join("secret.key.new");
            let written = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)
                .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
                .and_then(|()| fs::rename(&fresh, &path))
                // The name must outlive a crash too: what is sealed with a lost key is lost.
                .and_then(|()| File::open(dir).and_then(|dir| dir.sync_all()));
            written.map_err(ManagedError::io("write", &path))?;
            Ok(key)
        }
        Err(error) => Err(ManagedError::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::SeededEntropy;

    #[test]
    fn a_key_is_made_once() {
        let dir = std::env::temp_dir().join(format!("bursar-secret-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let key = keep(&dir, &SeededEntropy::new(1)).unwrap();
        assert_eq!(keep(&dir, &SeededEntropy::new(2)).unwrap(), key);
        fs::write(dir.join("secret.key"), "short").unwrap();
        assert!(keep(&dir, &SeededEntropy::new(3)).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
