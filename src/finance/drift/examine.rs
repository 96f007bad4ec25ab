use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::books::{self, BookRow, Stretch};
use crate::finance::store::proof::ids::Table;
use crate::finance::store::proof::keep::{self, Kept};
use crate::finance::store::proof::{Keys, events, money, snapshots};

use super::book::{self, Beyond};
use super::caps::Spending;
use super::chart::Chart;
use super::events::Told;
use super::finding::Findings;
use super::lots::{self, Lots, clamp};
use super::subjects::{Key, Subjects, Wanted};
use super::window::{Walked, Window, walk};
use super::{disputes, grants, holds, orders, sales, topups};

/// Which walk a step goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// After what is booked.
    Head,
    /// Through everything, from the first transfer.
    Lap,
}

impl Walk {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Lap => "lap",
        }
    }
}

/// What a step has examined.
pub(super) struct Examined {
    pub(super) windows: Vec<Window>,
    pub(super) findings: Findings,
    pub(super) verified: i64,
    lots: Lots,
    changes: Spending,
}

/// Reads the windows, everything that they lead to, and the rows of the pages; compares it all.
pub(super) async fn examine(
    tx: &mut PgConnection,
    walk_of: Walk,
    mut windows: Vec<Window>,
    pages: Vec<(Table, Key)>,
) -> Result<Examined, sqlx::Error> {
    let chart = Chart::of(books::movements(tx).await?, books::roles(tx).await?);
    let stretches: Vec<Stretch> = windows.iter().map(Window::transfers).collect();
    let entries = books::transfers(tx, &stretches).await?;
    let stretches: Vec<Stretch> = windows.iter().map(Window::events).collect();
    let told = events::events(tx, &stretches).await?;
    let mut findings = Findings::default();
    let walked = walk(&chart, &mut windows, &entries, &told, &mut findings);

    let mut wanted = Wanted::of(&walked);
    let orphans: BTreeSet<Key> = pages.iter().map(|(_, key)| *key).collect();
    for (table, key) in pages {
        wanted.add(table, [key]);
    }
    // Where rows were not compared for a while, whatever is open is.
    let ends = windows.iter().filter(|window| window.ends());
    let late: Vec<Uuid> =
        ends.filter(|window| window.compared < window.from).map(Window::book).collect();
    let open = money::open_lots(tx, walk_of.name(), &late).await?;
    wanted.lots.extend(open.into_iter().map(|lot| (lot.book_id, lot.lot_id)));
    let wanted_lots = wanted.lots.clone();
    let before = money::proven_lots(tx, walk_of.name(), &Keys::of(&wanted_lots)).await?;
    let lots = Lots::after(&walked, before);
    let all = Subjects::read(tx, wanted).await?;

    let ended: HashSet<Uuid> =
        windows.iter().filter(|window| window.ends()).map(Window::book).collect();
    holds::compare(&chart, &all, &mut findings);
    sales::compare(&chart, &all, &mut findings);
    disputes::compare(&all, &mut findings);
    orders::compare(&all, &mut findings);
    topups::compare(&chart, &all, &mut findings);
    grants::compare(&chart, &all, &mut findings);
    lots.compare(&all, &wanted_lots, &ended, &mut findings);
    lots::kinds(&chart, &all, &walked, &mut findings);
    book::reverses(&chart, &all, &walked, &mut findings);
    let beyond = Beyond {
        left: lots.left_beyond(&all, &wanted_lots),
        open: holds::open_beyond(&chart, &all),
        credited: topups::credited_beyond(&chart, &all),
        charged: sales::charged_beyond(&chart, &all),
    };
    for window in &windows {
        book::compare(&chart, window, &beyond, &mut findings);
    }
    compare_losses(tx, &windows, &ended, &mut findings).await?;
    compare_snapshots(tx, &windows, &mut findings).await?;
    let acts = Told::of(&chart, &all, &windows, &told, &orphans);
    let more = events::at_moments(tx, &acts.unread).await?;
    acts.compare(&all, &told, &more, &mut findings);
    let changes = Spending::of(&chart, &all, &walked);
    compare_caps(tx, &chart, walk_of, &all, &walked, &ended, &mut findings).await?;
    Ok(Examined { windows, findings, verified: walked.verified, lots, changes })
}

async fn compare_losses(
    tx: &mut PgConnection,
    windows: &[Window],
    ended: &HashSet<Uuid>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let ended: Vec<Uuid> = ended.iter().copied().collect();
    let lost: HashMap<Uuid, i64> = money::lost(tx, &ended).await?.into_iter().collect();
    for window in windows {
        let Some(found) = lost.get(&window.book()) else { continue };
        let (subject, expected) = ("lost of void settlements", window.balance("settlement_loss"));
        let rule = Rule::LossesMatchLots;
        findings.compare(rule, window.book(), subject, expected, i128::from(*found));
    }
    Ok(())
}

async fn compare_snapshots(
    tx: &mut PgConnection,
    windows: &[Window],
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let walked: Vec<(Stretch, bool)> = windows.iter().map(Window::walked).collect();
    for row in snapshots::differing(tx, &walked).await? {
        let figures = row.found.map(|found| (i128::from(row.expected), i128::from(found)));
        let subject = format!("{} at version {}", row.role, row.version);
        findings.add(Rule::SnapshotsMatchTransfers, row.book_id, subject, figures);
    }
    Ok(())
}

async fn compare_caps(
    tx: &mut PgConnection,
    chart: &Chart,
    walk_of: Walk,
    all: &Subjects,
    walked: &Walked,
    ended: &HashSet<Uuid>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let ended: Vec<Uuid> = ended.iter().copied().collect();
    let caps = money::caps(tx, &ended).await?;
    let usage = money::usage(tx, &ended).await?;
    let capped: HashSet<Uuid> = caps.iter().map(|cap| cap.book_id).collect();
    let capped: Vec<Uuid> = capped.into_iter().collect();
    let before = money::spent(tx, walk_of.name(), &capped).await?;
    let spending = Spending::of(chart, all, walked).after(before);
    spending.compare(chart, all, &caps, &usage, findings);
    Ok(())
}

/// How far a step has come in a book, beside the walk itself.
pub(super) struct Progress {
    pub(super) phase: i16,
    pub(super) after_id: Option<Uuid>,
    pub(super) begun_at: DateTime<Utc>,
}

impl Examined {
    /// Keeps how far a walk has come.
    pub(super) async fn keep(
        &self,
        tx: &mut PgConnection,
        walk_of: Walk,
        progress: impl Fn(&BookRow) -> Progress,
    ) -> Result<(), sqlx::Error> {
        let kept: Vec<Kept> = self
            .windows
            .iter()
            .map(|window| {
                let Progress { phase, after_id, begun_at } = progress(&window.row);
                Kept {
                    book: window.book(),
                    walk: walk_of.name(),
                    version: window.reached,
                    event_seq: window.events_to.max(window.events_from),
                    compared: if window.ends() { window.row.version } else { window.compared },
                    balances: window.balances.iter().map(|balance| clamp(*balance)).collect(),
                    promo_spent: clamp(window.promo_spent),
                    phase,
                    after_id,
                    begun_at,
                }
            })
            .collect();
        let books: HashSet<Uuid> = self.windows.iter().map(Window::book).collect();
        keep::books(tx, &kept).await?;
        keep::lots(tx, walk_of.name(), &self.lots.kept(&books)).await?;
        keep::spent(tx, walk_of.name(), &self.changes.kept(&books)).await
    }

    /// The books whose head says something else than this walk, which went through them from the
    /// first transfer to the last. Where the head is not as far as the book there is nothing to
    /// compare.
    pub(super) async fn other_heads(
        &self,
        tx: &mut PgConnection,
    ) -> Result<HashSet<Uuid>, sqlx::Error> {
        let ids: Vec<Uuid> = self.windows.iter().map(Window::book).collect();
        let heads = keep::heads(tx, &ids).await?;
        let heads: HashMap<Uuid, _> = heads.into_iter().map(|head| (head.book_id, head)).collect();
        let mut differ = HashSet::new();
        let mut level = Vec::new();
        for window in &self.windows {
            let Some(head) = heads.get(&window.book()) else { continue };
            let balances: Vec<i64> = window.balances.iter().map(|b| clamp(*b)).collect();
            let same = (head.balances.as_slice(), head.promo_spent)
                == (balances.as_slice(), clamp(window.promo_spent));
            if head.version > window.reached || (head.version == window.reached && !same) {
                differ.insert(window.book());
            } else if head.version == window.reached {
                level.push(window.book());
            }
        }
        let proven = money::all_proven_lots(tx, Walk::Head.name(), &level).await?;
        let spent = money::spent(tx, Walk::Head.name(), &level).await?;
        let (lots, spent) = (self.lots.agree(&proven), self.changes.agree(spent));
        let agree = |of: &HashMap<Uuid, bool>, book: &Uuid| of.get(book).copied().unwrap_or(true);
        differ.extend(level.iter().filter(|b| !(agree(&lots, b) && agree(&spent, b))).copied());
        Ok(differ)
    }
}
