//! One cell of the matrix: a fault, a version, with or without a chain to read, and a buyer.

use std::fmt;

use bursar::x402::Version;

use super::fault::Fault;

/// What the buyer does after sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Waits for each answer and asks again when told to.
    Patient,
    /// Is gone before the answer and asks again later.
    HungUp,
    /// Sends eight copies at once, and more later.
    Repeating,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub fault: Fault,
    pub version: Version,
    /// Whether the service reads the chain.
    pub reads: bool,
    pub manner: Manner,
}

/// How a cell has to end once its fault is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The money moved and is credited.
    Credited,
    /// Nothing moved, and the buyer is told so for good: at once, or when the window is over. Until
    /// then it is openly unknown.
    Rejected,
    /// Nobody is there who could tell: openly unknown, and then parked for the operator.
    Parked,
    /// The facilitator's own memory decides whether it is credited or parked.
    CreditedOrParked,
    /// Credited without money, on the word of a facilitator that lies, where no chain is read.
    Untold,
}

const MANNERS: [Manner; 3] = [Manner::Patient, Manner::HungUp, Manner::Repeating];
const VERSIONS: [Version; 2] = [Version::V2, Version::V1];

impl Cell {
    /// Every cell. Those that wait for a window come first, so that they wait together.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for fault in Fault::ALL {
            for version in VERSIONS {
                for reads in [true, false] {
                    cells.extend(MANNERS.map(|manner| Self { fault, version, reads, manner }));
                }
            }
        }
        cells.sort_by_key(|cell| !cell.is_short());
        cells
    }

    /// A slice in which every two values of different dimensions meet.
    pub fn pairwise() -> Vec<Self> {
        let mut open: Vec<_> = pairs(&Self::all());
        let mut slice = Vec::new();
        while !open.is_empty() {
            let meets = |cell: &Self| pairs(&[*cell]).iter().filter(|p| open.contains(p)).count();
            // The first of the best, so that the slice is the same each time.
            let best = Self::all().into_iter().rev().max_by_key(meets).expect("there are cells");
            let met = pairs(&[best]);
            open.retain(|pair| !met.contains(pair));
            slice.push(best);
        }
        slice.sort_by_key(|cell| !cell.is_short());
        slice
    }

    pub fn ending(self) -> Ending {
        self.fault.ending(self.version, self.reads)
    }

    /// Whether it ends when the chain's clock has passed the authorization's window.
    pub fn outwaits_the_chain(self) -> bool {
        self.reads && self.ending() == Ending::Rejected
    }

    /// Whether the authorization is good for a short time only, because the end of its window
    /// belongs to the ending, and no chain tells it.
    pub fn is_short(self) -> bool {
        !self.reads && self.ending().has_window()
    }
}

impl Ending {
    /// Whether the end of the authorization's window belongs to it.
    pub fn has_window(self) -> bool {
        !matches!(self, Self::Credited | Self::Untold)
    }

    /// Whether a top-up in this state has ended, rightly or wrongly.
    pub fn is_end(self, status: &str) -> bool {
        match self {
            Self::Credited | Self::Untold => matches!(status, "credited" | "rejected"),
            Self::Rejected | Self::Parked | Self::CreditedOrParked => {
                matches!(status, "credited" | "rejected" | "parked")
            }
        }
    }

    /// Whether this is how it may end.
    pub fn allows(self, status: &str, moved: bool) -> bool {
        let told = (status, moved);
        match self {
            Self::Credited => told == ("credited", true),
            Self::Rejected => told == ("rejected", false),
            Self::Parked => status == "parked",
            Self::CreditedOrParked => status == "parked" || told == ("credited", true),
            Self::Untold => told == ("credited", false),
        }
    }
}

/// Every two values of a cell, as words.
fn pairs(cells: &[Cell]) -> Vec<[String; 2]> {
    let mut pairs = Vec::new();
    for cell in cells {
        let words = cell.words();
        for (at, one) in words.iter().enumerate() {
            for other in &words[at + 1..] {
                let pair = [one.clone(), other.clone()];
                if !pairs.contains(&pair) {
                    pairs.push(pair);
                }
            }
        }
    }
    pairs
}

impl Cell {
    fn words(&self) -> [String; 4] {
        let reads = if self.reads { "chain" } else { "blind" };
        let manner = match self.manner {
            Manner::Patient => "patient",
            Manner::HungUp => "hung up",
            Manner::Repeating => "repeating",
        };
        [
            format!("{:?}", self.fault),
            format!("V{}", self.version.number()),
            reads.to_owned(),
            manner.to_owned(),
        ]
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [fault, version, reads, manner] = self.words();
        write!(f, "{fault:<14} {version} {reads} {manner:<9}")
    }
}

#[test]
fn the_slice_has_every_pair_and_is_much_smaller_than_the_whole() {
    let (all, slice) = (Cell::all(), Cell::pairwise());
    assert_eq!(all.len(), Fault::ALL.len() * 12);
    let found = pairs(&slice);
    assert!(pairs(&all).iter().all(|pair| found.contains(pair)));
    assert!(slice.len() * 3 <= all.len(), "{} of {}", slice.len(), all.len());
}
