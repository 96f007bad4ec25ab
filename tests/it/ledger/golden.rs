//! Worked examples of the published order: what burns first, and what comes back where.

use bursar::ground::{Amount, BookId, CapId, ChargeId, HoldId, KeyId, LotId, SeededEntropy};
use bursar::ledger::{Book, Draw, HoldRequest, Lot, Refusal, Role, Span, Stop};
use chrono::TimeDelta;
use uuid::Uuid;

use super::commands::terms;
use super::model::Time;

const KEY: KeyId = KeyId(Uuid::from_u128(1));
const HOLD: HoldId = HoldId(Uuid::from_u128(2));
const CHARGE: ChargeId = ChargeId(Uuid::from_u128(3));

fn dollars(text: &str) -> Amount {
    text.parse().unwrap()
}

fn noon() -> Time {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// A book, and short names for what happens to it.
struct Scene {
    book: Book,
    entropy: SeededEntropy,
}

impl Scene {
    fn new() -> Self {
        let book = Book::new(BookId(Uuid::from_u128(0x0700)), noon());
        Self { book, entropy: SeededEntropy::new(7) }
    }

    fn top_up(&mut self, text: &str) -> LotId {
        let at = self.book.now();
        self.book.top_up(&self.entropy, Uuid::nil(), dollars(text), at).unwrap().1
    }

    fn grant(&mut self, text: &str, days: i64) -> LotId {
        let expires = self.book.now() + TimeDelta::days(days);
        let terms = terms(dollars(text), self.book.now(), expires);
        self.book.grant(&self.entropy, Uuid::nil(), &terms).unwrap().1
    }

    fn pass(&mut self, days: i64) {
        self.book.set_time(self.book.now() + TimeDelta::days(days));
        self.book.expire_due(&self.entropy).unwrap();
    }

    fn hold(&mut self, id: HoldId, text: &str) -> Result<(), Stop> {
        let request = HoldRequest { id, amount: dollars(text) };
        self.book.place_holds(&self.entropy, KEY, &[request], dollars(text)).map(|_| ())
    }

    fn release(&mut self, text: &str) {
        self.book.release(&self.entropy, HOLD, dollars(text)).unwrap();
    }

    fn capture(&mut self, text: &str) {
        self.book.capture(&self.entropy, HOLD, CHARGE, dollars(text)).unwrap();
    }

    fn reverse(&mut self, text: &str) {
        self.book.reverse(&self.entropy, CHARGE, Uuid::nil(), dollars(text)).unwrap();
    }

    fn draws(&self) -> Vec<(LotId, String)> {
        let draw = |draw: &Draw| (draw.lot, draw.amount.to_string());
        self.book.hold(HOLD).unwrap().draws.iter().map(draw).collect()
    }

    fn left(&self, lot: LotId) -> String {
        self.book.lots().find(|of| of.id == lot).unwrap().remaining.to_string()
    }

    fn balances(&self, roles: &[Role]) -> Vec<String> {
        roles.iter().map(|role| self.book.balance(*role).to_string()).collect()
    }
}

#[test]
fn lots_burn_by_priority_then_expiry_then_promotional_then_age_then_id() {
    let lot = |id: u128, priority, days: Option<i64>, paid, hours| Lot {
        id: LotId(Uuid::from_u128(id)),
        paid,
        priority,
        amount: dollars("1"),
        remaining: dollars("1"),
        granted_at: noon() + TimeDelta::hours(hours),
        effective_at: noon(),
        expires_at: days.map(|days| noon() + TimeDelta::days(days)),
        origin: Uuid::nil(),
        parent: None,
        lost: None,
    };
    let burning = [
        lot(90, 10, None, true, 9),
        lot(80, 50, Some(1), true, 8),
        lot(70, 50, Some(2), false, 7),
        lot(60, 50, Some(2), true, 6),
        lot(50, 50, None, false, 5),
        lot(40, 50, None, true, 0),
        lot(30, 50, None, true, 1),
        lot(31, 50, None, true, 1),
        lot(10, 51, Some(1), false, 0),
    ];
    assert!(burning.is_sorted_by(|a, b| a.burn_key() < b.burn_key()));
}

#[test]
fn promotional_credits_burn_before_paid_ones_and_never_touch_revenue() {
    let mut scene = Scene::new();
    let paid = scene.top_up("5.00");
    let promotional = scene.grant("25.00", 90);
    scene.hold(HOLD, "27.00").unwrap();
    assert_eq!(scene.draws(), [(promotional, "25.00".into()), (paid, "2.00".into())]);
    let held = [Role::Prepaid, Role::Held, Role::Promo, Role::PromoHeld];
    assert_eq!(scene.balances(&held), ["3.00", "2.00", "0.00", "25.00"]);
    scene.capture("26.00");
    scene.release("1.00");
    assert_eq!(scene.balances(&held), ["4.00", "0.00", "0.00", "0.00"]);
    let earned = [Role::Revenue, Role::ReversedRevenue, Role::PromoIssued, Role::SettledUsdc];
    assert_eq!(scene.balances(&earned), ["1.00", "0.00", "0.00", "5.00"]);
    scene.reverse("2.50");
    assert_eq!(scene.balances(&earned), ["1.00", "1.00", "1.50", "5.00"]);
    assert_eq!((scene.left(paid), scene.left(promotional)), ("5.00".into(), "1.50".into()));
}

#[test]
fn the_earliest_expiry_burns_first_whatever_was_granted_first() {
    let mut scene = Scene::new();
    let (late, soon) = (scene.grant("5.00", 10), scene.grant("5.00", 5));
    let (paid, older) = (scene.top_up("4.00"), scene.top_up("4.00"));
    scene.hold(HOLD, "12.00").unwrap();
    let expected = [(soon, "5.00".into()), (late, "5.00".into()), (paid, "2.00".into())];
    assert_eq!(scene.draws(), expected);
    assert_eq!(scene.left(older), "4.00");
}

#[test]
fn captures_take_from_the_front_releases_from_the_end_and_reversals_the_last_first() {
    let mut scene = Scene::new();
    let (first, second) = (scene.grant("4.00", 1), scene.grant("3.00", 2));
    let third = scene.top_up("3.00");
    scene.hold(HOLD, "10.00").unwrap();
    scene.release("4.00");
    let left = |scene: &Scene| [first, second, third].map(|lot| scene.left(lot));
    assert_eq!(left(&scene), ["0.00", "1.00", "3.00"]);
    scene.capture("5.50");
    scene.reverse("2.00");
    assert_eq!(left(&scene), ["0.50", "2.50", "3.00"]);
    scene.reverse("3.50");
    assert_eq!(left(&scene), ["4.00", "2.50", "3.00"]);
    scene.release("0.50");
    assert_eq!(left(&scene), ["4.00", "3.00", "3.00"]);
}

#[test]
fn what_returns_to_an_expired_lot_becomes_a_lot_of_thirty_days() {
    let mut scene = Scene::new();
    let (short, long) = (scene.grant("4.00", 5), scene.grant("4.00", 50));
    scene.hold(HOLD, "6.00").unwrap();
    scene.capture("5.00");
    scene.pass(5);
    assert_eq!(scene.balances(&[Role::Promo, Role::Breakage]), ["2.00", "0.00"]);
    scene.reverse("3.00");
    // One dollar goes back to the lot that lives, two that belong to the expired one into another.
    assert_eq!((scene.left(short), scene.left(long)), ("0.00".into(), "3.00".into()));
    let fresh = scene.book.lots().find(|lot| lot.parent == Some(short)).unwrap().clone();
    assert_eq!((fresh.amount, fresh.remaining), (dollars("2.00"), dollars("2.00")));
    assert_eq!(fresh.expires_at, Some(scene.book.now() + TimeDelta::days(30)));
    assert_eq!((fresh.paid, fresh.priority, fresh.origin), (false, 50, Uuid::nil()));
    scene.pass(30);
    assert_eq!(scene.left(fresh.id), "0.00");
    assert_eq!(scene.left(long), "3.00");
    assert_eq!(
        scene.balances(&[Role::Promo, Role::PromoHeld, Role::PromoIssued]),
        ["3.00", "1.00", "4.00"]
    );
}

#[test]
fn credits_that_are_over_on_arrival_expire_at_once() {
    let mut scene = Scene::new();
    let dead = scene.grant("4.00", 0);
    assert_eq!(scene.left(dead), "0.00");
    assert!(scene.book.available().is_zero());
    assert_eq!(scene.book.transfers().len(), 2);
}

#[test]
fn headroom_comes_back_to_the_day_it_was_taken_from() {
    let mut scene = Scene::new();
    let cap = CapId(Uuid::nil());
    scene.book.set_cap(cap, None, Span::Day, dollars("10.00"));
    scene.top_up("100.00");
    scene.hold(HOLD, "8.00").unwrap();
    let (other, never) = (HoldId(Uuid::from_u128(9)), HoldId(Uuid::from_u128(11)));
    let refused = |scene: &mut Scene, text| match scene.hold(never, text) {
        Err(Stop::Refused(Refusal::CapExceeded { violations })) => violations[0].used.to_string(),
        got => panic!("{got:?}"),
    };
    assert_eq!(refused(&mut scene, "2.000001"), "8.00");
    scene.release("1.00");
    assert_eq!(refused(&mut scene, "3.000001"), "7.00");
    scene.pass(1);
    scene.hold(other, "4.00").unwrap();
    scene.release("6.00");
    assert_eq!(refused(&mut scene, "6.000001"), "4.00");
    scene.hold(HoldId(Uuid::from_u128(10)), "6.00").unwrap();
    assert_eq!(refused(&mut scene, "0.000001"), "10.00");
    // Tightened below its use, a cap refuses what comes and cancels nothing.
    scene.book.set_cap(cap, None, Span::Day, dollars("2.00"));
    assert_eq!(refused(&mut scene, "0.000001"), "10.00");
    assert_eq!(scene.book.hold(other).unwrap().open(), dollars("4.00"));
}
