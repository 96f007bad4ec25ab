use std::sync::Mutex;

use sha2::{Digest, Sha256};

/// Where randomness comes from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Entropy {
    /// A random array.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut buffer = [0; N];
        self.fill(&mut buffer);
        buffer
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
        getrandom::fill(buffer).expect("the operating system always has randomness once it is up");
    }
}

/// Reproducible bytes for tests: SHA-256 of a seed and a counter.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    /// A generator that gives the same bytes for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: Mutex::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let counter = {
                let mut counter = self.counter.lock().unwrap_or_else(|e| e.into_inner());
                *counter = counter.wrapping_add(1);
                *counter
            };
            let block = Sha256::new()
                .chain_update(self.seed.to_be_bytes())
                .chain_update(counter.to_be_bytes())
                .finalize();
            for (to, from) in chunk.iter_mut().zip(block) {
                *to = from;
            }
        }
    }
}
