/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Body and `X-PAYMENT`.
    V1,
    /// `PAYMENT-REQUIRED` and `PAYMENT-SIGNATURE`.
    V2,
}

impl Version {
    /// As the wire has it.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The request header that carries its payments.
    pub const fn header(self) -> &'static str {
        match self {
            Self::V1 => "X-PAYMENT",
            Self::V2 => "PAYMENT-SIGNATURE",
        }
    }
}
