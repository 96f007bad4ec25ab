//! What waits, and which books are at work.

use std::collections::{HashMap, VecDeque};

use crate::ground::BookId;

/// Work for a book.
pub(super) trait OfBook {
    fn book(&self) -> BookId;
}

/// Work in the order in which it came. A book is in one batch at a time, so what is for it is carried
/// out in that order, and no two batches of this process wait for each other's locks.
pub(super) struct Queue<T> {
    /// Work for books that are in no batch.
    ready: VecDeque<T>,
    /// The books that are in a batch, with what has come for them since.
    busy: HashMap<BookId, Vec<T>>,
    waiting: usize,
    /// How much of that waits for a busy book.
    parked: usize,
    running: usize,
    /// How many batches have begun.
    begun: u64,
    /// How much may wait.
    room: usize,
    /// How much makes up a batch beside another.
    enough: usize,
}

/// Why there is no batch to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// Nothing is ready.
    Empty,
    /// Too little is ready to be worth a batch beside those that run. Tells how many had begun.
    Little(u64),
}

impl<T: OfBook> Queue<T> {
    pub(super) fn new(room: usize, enough: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            busy: HashMap::new(),
            waiting: 0,
            parked: 0,
            running: 0,
            begun: 0,
            room,
            enough,
        }
    }

    /// Queues the work, unless there is no room: then it comes back. What waits for a busy book may
    /// take a quarter of the room for one and three for all, so that a batch that hangs keeps only its
    /// own books from being served. Tells whether another batch may begin, or somebody should watch
    /// that what is ready does not wait too long.
    pub(super) fn push(&mut self, work: T) -> Result<bool, T> {
        if self.waiting >= self.room {
            return Err(work);
        }
        let quarter = self.room.div_ceil(4);
        if let Some(later) = self.busy.get_mut(&work.book()) {
            if later.len() >= quarter || self.parked.saturating_add(quarter) > self.room {
                return Err(work);
            }
            later.push(work);
            self.parked = self.parked.saturating_add(1);
            self.waiting = self.waiting.saturating_add(1);
            return Ok(false);
        }
        self.waiting = self.waiting.saturating_add(1);
        self.ready.push_back(work);
        Ok(self.ready.len() == 1 || self.running == 0 || self.ready.len() == self.enough)
    }

    /// Begins a batch of at most so much, unless there is too little for one. `patient` is how many
    /// batches had begun when too little was ready: when none has begun since, it is enough.
    pub(super) fn take(&mut self, most: usize, patient: Option<u64>) -> Result<Vec<T>, Idle> {
        if self.ready.is_empty() {
            return Err(Idle::Empty);
        }
        let little = self.running > 0 && self.ready.len() < self.enough;
        if little && patient != Some(self.begun) {
            return Err(Idle::Little(self.begun));
        }
        let batch: Vec<T> = self.ready.drain(..self.ready.len().min(most)).collect();
        for work in &batch {
            self.busy.entry(work.book()).or_default();
        }
        // What did not fit waits for its book.
        for work in std::mem::take(&mut self.ready) {
            match self.busy.get_mut(&work.book()) {
                Some(later) => {
                    later.push(work);
                    self.parked = self.parked.saturating_add(1);
                }
                None => self.ready.push_back(work),
            }
        }
        self.waiting = self.waiting.saturating_sub(batch.len());
        self.running = self.running.saturating_add(1);
        self.begun = self.begun.wrapping_add(1);
        Ok(batch)
    }

    /// Ends a batch of these books.
    pub(super) fn end(&mut self, books: &[BookId]) {
        self.running = self.running.saturating_sub(1);
        for book in books {
            let later = self.busy.remove(book).unwrap_or_default();
            self.parked = self.parked.saturating_sub(later.len());
            self.ready.extend(later);
        }
    }

    /// How much is ready beyond what one batch takes, so that another may begin.
    pub(super) fn has_enough(&self) -> bool {
        self.ready.len() >= self.enough
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Drops whatever waits.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.busy.values_mut().for_each(Vec::clear);
        (self.waiting, self.parked) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// The n-th piece of work, for one of a few books.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Work {
        book: u128,
        n: usize,
    }

    impl OfBook for Work {
        fn book(&self) -> BookId {
            BookId(Uuid::from_u128(self.book))
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u128),
        Take { most: usize, patient: bool },
        End(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..5_u128).prop_map(Step::Push),
            2 => (1..6_usize, any::<bool>())
                .prop_map(|(most, patient)| Step::Take { most, patient }),
            1 => (0..4_usize).prop_map(Step::End),
        ];
        vec(step, 0..200)
    }

    const ROOM: usize = 20;
    const ENOUGH: usize = 4;

    proptest! {
        /// Nothing is lost or done twice, a book is in one batch at a time, and its work keeps its
        /// order; what has no room comes back.
        #[test]
        fn work_is_done_once_in_the_order_of_its_book(steps in steps()) {
            let mut queue = Queue::new(ROOM, ENOUGH);
            let (mut accepted, mut running, mut done) = (Vec::new(), Vec::new(), Vec::new());
            let mut waiting = 0;
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(book) => match queue.push(Work { book, n }) {
                        Ok(_) => {
                            accepted.push(Work { book, n });
                            waiting += 1;
                        }
                        Err(back) => {
                            prop_assert_eq!(back, Work { book, n });
                            let busy = queue.busy.values().map(Vec::len);
                            let full = busy.clone().any(|later| later >= ROOM / 4)
                                || busy.sum::<usize>() > ROOM - ROOM / 4;
                            prop_assert!(waiting == ROOM || full);
                        }
                    },
                    Step::Take { most, patient } => {
                        let patient = patient.then_some(queue.begun);
                        if let Ok(batch) = queue.take(most, patient) {
                            prop_assert!((1..=most).contains(&batch.len()));
                            waiting -= batch.len();
                            running.push(batch);
                        }
                        let busy: Vec<HashSet<u128>> = running
                            .iter()
                            .map(|batch: &Vec<Work>| batch.iter().map(|work| work.book).collect())
                            .collect();
                        let all: HashSet<u128> = busy.iter().flatten().copied().collect();
                        prop_assert_eq!(all.len(), busy.iter().map(HashSet::len).sum::<usize>());
                    }
                    Step::End(which) if which < running.len() => {
                        let batch: Vec<Work> = running.remove(which);
                        queue.end(&batch.iter().map(OfBook::book).collect::<Vec<_>>());
                        done.extend(batch);
                    }
                    Step::End(_) => {}
                }
                prop_assert_eq!(queue.waiting(), waiting);
            }
            for batch in running {
                queue.end(&batch.iter().map(OfBook::book).collect::<Vec<_>>());
                done.extend(batch);
            }
            while let Ok(batch) = queue.take(3, None) {
                queue.end(&batch.iter().map(OfBook::book).collect::<Vec<_>>());
                done.extend(batch);
            }
            for book in 0..5 {
                let of = |all: &[Work]| {
                    all.iter().filter(|work| work.book == book).cloned().collect::<Vec<_>>()
                };
                prop_assert_eq!(of(&done), of(&accepted));
            }
        }
    }

    fn pushed(count: usize) -> Queue<Work> {
        let mut queue = Queue::new(100, ENOUGH);
        for (n, book) in (100..).take(count).enumerate() {
            assert!(queue.push(Work { book, n }).is_ok());
        }
        queue
    }

    #[test]
    fn little_waits_for_the_batch_that_runs_and_enough_does_not() {
        let mut queue = pushed(1);
        assert_eq!(queue.take(10, None).map(|batch| batch.len()), Ok(1));
        assert!(queue.push(Work { book: 1, n: 1 }).is_ok_and(|watch| watch), "somebody watches it");
        assert_eq!(queue.take(10, None), Err(Idle::Little(1)));
        for book in 2..=4 {
            let wake = queue.push(Work { book, n: 1 });
            assert_eq!(wake, Ok(book == 4), "another batch may begin at the fourth");
        }
        assert_eq!(queue.take(10, None).map(|batch| batch.len()), Ok(4));
    }

    #[test]
    fn what_waits_for_a_busy_book_leaves_room_for_others() {
        let mut queue = pushed(1);
        assert!(queue.take(10, None).is_ok());
        let mut push = |book| queue.push(Work { book, n: 1 }).is_ok();
        assert_eq!((0..100).filter(|_| push(100)).count(), 25, "a quarter");
        assert_eq!((0..100).filter(|_| push(7)).count(), 75, "all the rest");
    }

    #[test]
    fn little_waits_no_longer_when_nothing_begins() {
        let mut queue = pushed(1);
        assert!(queue.take(10, None).is_ok());
        assert!(queue.push(Work { book: 1, n: 1 }).is_ok());
        let Err(Idle::Little(begun)) = queue.take(10, None) else { panic!("too little") };
        assert_eq!(queue.take(10, Some(begun)).map(|batch| batch.len()), Ok(1));
        assert!(queue.push(Work { book: 2, n: 2 }).is_ok());
        assert_eq!(queue.take(10, Some(begun)), Err(Idle::Little(2)), "another one began");
    }
}
