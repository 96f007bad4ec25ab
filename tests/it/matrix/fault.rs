//! The faults: what stands between the service and its money.

use bursar::x402::Version;
use serde_json::{Value, json};

use super::cell::Ending;

/// What goes wrong with one payment. Except for [`Fault::Invented`] it goes wrong once, and then it
/// is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The answer of `/settle` is late.
    Delay,
    /// 429 before the facilitator heard of it.
    Busy,
    /// 500 after the money moved.
    Broken,
    /// 503 before the facilitator heard of it.
    Away,
    DropBefore,
    DropAfter,
    /// The money moved, and no answer comes.
    Hang,
    BadJson,
    Html,
    Empty,
    WrongPayer,
    /// A success that never was, and nothing else for ever.
    Invented,
    /// The transaction stays in the pool, and is mined after the facilitator has said so.
    PendingMined,
    PendingNever,
    /// The wallet is emptied before the transaction, which is mined and reverts.
    Reverted,
    /// The wallet is emptied after `/verify`.
    Emptied,
    /// The facilitator's process ends with the transaction in the pool; another takes its place.
    Restarted,
    VerifyBusy,
    VerifyBroken,
    VerifyDrop,
    VerifyHang,
    VerifyHtml,
}

/// A call that the service makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Verify,
    Settle,
}

/// What becomes of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It goes to the facilitator, and the answer comes back.
    Pass,
    /// The same, late.
    Late,
    /// The facilitator never hears of it, and this is the answer.
    Instead(u16, String),
    /// The facilitator never hears of it, and the connection ends.
    Drop,
    /// The facilitator never hears of it, and nothing comes.
    Ignore,
    /// It goes to the facilitator, and its answer becomes this one.
    Twist(Twist),
    /// It goes to the facilitator after the wallet was emptied.
    Empty,
    /// The facilitator ends while it works on it, and comes back.
    Restart,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    Drop,
    Hang,
    Broken,
    BadJson,
    Html,
    Empty,
    WrongPayer,
}

const HTML: &str = "<html><body><h1>502 Bad Gateway</h1></body></html>";

impl Fault {
    pub const ALL: [Self; 23] = [
        Self::None,
        Self::Delay,
        Self::Busy,
        Self::Broken,
        Self::Away,
        Self::DropBefore,
        Self::DropAfter,
        Self::Hang,
        Self::BadJson,
        Self::Html,
        Self::Empty,
        Self::WrongPayer,
        Self::Invented,
        Self::PendingMined,
        Self::PendingNever,
        Self::Reverted,
        Self::Emptied,
        Self::Restarted,
        Self::VerifyBusy,
        Self::VerifyBroken,
        Self::VerifyDrop,
        Self::VerifyHang,
        Self::VerifyHtml,
    ];

    /// What becomes of a call, the `turn`th of its kind for one payment, counted from 0.
    pub fn act(self, call: Call, turn: usize) -> Act {
        match call {
            Call::Verify => self.act_on_verify(turn),
            Call::Settle => self.act_on_settle(turn),
        }
    }

    fn act_on_verify(self, turn: usize) -> Act {
        // Asked three times in one request where that is safe.
        match (self, turn) {
            (Self::VerifyBusy, 0..3) => Act::Instead(429, String::new()),
            (Self::VerifyBroken, 0) => Act::Instead(500, "oops".to_owned()),
            (Self::VerifyDrop, 0) => Act::Drop,
            (Self::VerifyHang, 0) => Act::Ignore,
            (Self::VerifyHtml, 0) => Act::Twist(Twist::Html),
            _ => Act::Pass,
        }
    }

    fn act_on_settle(self, turn: usize) -> Act {
        match (self, turn) {
            (Self::Invented, _) => Act::Instead(200, String::new()),
            (Self::Delay, 0) => Act::Late,
            (Self::Busy, 0) => Act::Instead(429, "slow down".to_owned()),
            (Self::Away, 0) => Act::Instead(503, HTML.to_owned()),
            (Self::DropBefore, 0) => Act::Drop,
            (Self::Broken, 0) => Act::Twist(Twist::Broken),
            (Self::DropAfter, 0) => Act::Twist(Twist::Drop),
            (Self::Hang, 0) => Act::Twist(Twist::Hang),
            (Self::BadJson, 0) => Act::Twist(Twist::BadJson),
            (Self::Html, 0) => Act::Twist(Twist::Html),
            (Self::Empty, 0) => Act::Twist(Twist::Empty),
            (Self::WrongPayer, 0) => Act::Twist(Twist::WrongPayer),
            (Self::Emptied, 0) => Act::Empty,
            (Self::Restarted, 0) => Act::Restart,
            _ => Act::Pass,
        }
    }

    /// What becomes of the transaction, by its name in `world.mjs`.
    pub fn plan(self) -> Option<&'static str> {
        match self {
            Self::PendingMined | Self::PendingNever | Self::Restarted => Some("hold"),
            Self::Reverted => Some("revert"),
            _ => None,
        }
    }

    /// Whether the facilitator says in the end what became of it, so that no chain is needed.
    pub fn is_told(self) -> bool {
        match self {
            Self::None | Self::Delay | Self::Busy | Self::Away | Self::DropBefore => true,
            Self::VerifyBusy | Self::VerifyBroken | Self::VerifyDrop => true,
            Self::VerifyHang | Self::VerifyHtml => true,
            Self::Broken | Self::DropAfter | Self::Hang | Self::BadJson | Self::Html => false,
            Self::Empty | Self::WrongPayer | Self::Restarted | Self::PendingMined => false,
            Self::Invented | Self::PendingNever | Self::Reverted | Self::Emptied => false,
        }
    }

    pub fn ending(self, version: Version, reads: bool) -> Ending {
        match self {
            Self::Invented if !reads => Ending::Untold,
            Self::Invented | Self::PendingNever | Self::Reverted if reads => Ending::Rejected,
            // The facilitator's class for V1 says so in words that nobody can list.
            Self::Emptied if reads || version == Version::V2 => Ending::Rejected,
            // And it forgets what it has sent.
            Self::PendingMined if !reads && version == Version::V1 => Ending::CreditedOrParked,
            Self::PendingMined => Ending::Credited,
            _ if reads || self.is_told() => Ending::Credited,
            _ => Ending::Parked,
        }
    }
}

impl Twist {
    /// The answer that comes back instead, and whether one does.
    pub fn twisted(self, truth: (u16, String)) -> Option<(u16, String)> {
        let (status, text) = truth;
        Some(match self {
            Self::Drop | Self::Hang => return None,
            Self::Broken => (500, r#"{"error":"internal"}"#.to_owned()),
            Self::BadJson => (status, text[..text.len() / 2].to_owned()),
            Self::Html => (200, HTML.to_owned()),
            Self::Empty => (status, String::new()),
            Self::WrongPayer => {
                let mut answer: Value = serde_json::from_str(&text).unwrap_or(json!({}));
                answer["payer"] = json!("0x2222222222222222222222222222222222222222");
                (status, answer.to_string())
            }
        })
    }
}

/// A success with a transaction that nobody has sent.
pub fn invented(version: Version, payer: &str, nonce: &str) -> Value {
    let network = match version {
        Version::V2 => "eip155:84532",
        Version::V1 => "base-sepolia",
    };
    json!({ "success": true, "transaction": nonce, "network": network, "payer": payer })
}
