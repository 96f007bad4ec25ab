use std::fmt;

use crate::ground::sha256;

/// What makes two payments the same payment: the chain accepts this combination once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PaymentIdentity {
    /// The CAIP-2 id.
    pub network: &'static str,
    /// The token contract, in lower case.
    pub asset: String,
    /// Who pays, in lower case.
    pub payer: String,
    /// The authorization's nonce, in lower case.
    pub nonce: String,
}

impl PaymentIdentity {
    /// The key of the claim that keeps one payment from being credited twice.
    pub fn claim_key(&self) -> [u8; 32] {
        sha256([
            b"bursar-payment-v1".as_slice(),
            self.network.as_bytes(),
            self.asset.as_bytes(),
            self.payer.as_bytes(),
            self.nonce.as_bytes(),
        ])
    }
}

impl fmt::Display for PaymentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.network, self.asset, self.payer, self.nonce)
    }
}
