//! The drift checker's queries: what it reads of the ledger, by key alone, and what it keeps.
//!
//! They share nothing with the queries that write money. Every table is looked up row by row, by
//! `lateral` subqueries with `offset 0`: that form has only one plan, whatever the statistics say, so
//! that a step reads what it asks for and nothing else. The ledger's rows are never locked.

pub mod books;
pub mod cursor;
pub mod disputes;
pub mod events;
pub mod findings;
pub mod grants;
pub mod ids;
pub mod keep;
pub mod money;
pub mod orders;
pub mod sales;
pub mod snapshots;
pub mod strays;
pub mod subjects;

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::ground::Slot;

/// Ids of rows with the books they belong to, as arrays for a query.
#[derive(Default)]
pub struct Keys {
    pub slots: Vec<i16>,
    pub books: Vec<Uuid>,
    pub ids: Vec<Uuid>,
}

impl Keys {
    pub fn of(keys: &BTreeSet<(Uuid, Uuid)>) -> Self {
        Self::each(keys.iter().copied())
    }

    pub fn each(keys: impl IntoIterator<Item = (Uuid, Uuid)>) -> Self {
        let mut arrays = Self::default();
        for (book, id) in keys {
            arrays.slots.push(slot_of(book));
            arrays.books.push(book);
            arrays.ids.push(id);
        }
        arrays
    }
}

/// The slot of a book, as the database has it.
pub fn slot_of(book: Uuid) -> i16 {
    Slot::of(book).sql()
}
