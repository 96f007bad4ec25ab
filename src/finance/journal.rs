//! The journal as a stream of chunks.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sqlx::{PgPool, Postgres, Transaction};

use super::store::journal::{self, JournalRow, Position};
use super::{FinanceError, Format, Scope, line, store};

/// A part of a journal, or why it ends here.
pub type JournalChunk = Result<Bytes, FinanceError>;

/// A chunk is sent when it is this long; one line more is the longest it gets.
const CHUNK_BYTES: usize = 60 << 10;

/// How many rows are read at once. A page is all that a journal keeps in memory, and the most that
/// a dropped one leaves the database to finish.
const PAGE_ROWS: i64 = 1000;

/// What is read and not yet written.
struct Journal {
    format: Format,
    scope: Scope,
    /// The snapshot; none after the last page. Dropped, it is rolled back.
    snapshot: Option<Transaction<'static, Postgres>>,
    page: std::vec::IntoIter<JournalRow>,
    /// Where the page ends.
    end: Option<Position>,
    chunk: Vec<u8>,
}

/// Takes the snapshot, reads the first page, and streams from there.
pub(super) async fn open(
    pool: &PgPool,
    scope: Scope,
    format: Format,
) -> Result<BoxStream<'static, JournalChunk>, FinanceError> {
    let mut snapshot = store::snapshot(pool).await?;
    store::read_by_key(&mut snapshot).await?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    line::write_header(format, &mut chunk);
    let page = Vec::new().into_iter();
    let mut journal = Journal { format, scope, snapshot: Some(snapshot), page, end: None, chunk };
    journal.turn_page().await?;
    Ok(stream::try_unfold(journal, Journal::next).boxed())
}

impl Journal {
    /// The next chunk; none at the end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, FinanceError> {
        loop {
            while self.chunk.len() < CHUNK_BYTES {
                let Some(row) = self.page.next() else { break };
                line::write(row, self.format, &mut self.chunk);
            }
            if self.chunk.len() >= CHUNK_BYTES || self.snapshot.is_none() {
                let next = Vec::with_capacity(CHUNK_BYTES);
                let chunk = std::mem::replace(&mut self.chunk, next);
                return Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), self)));
            }
            self.turn_page().await?;
        }
    }

    async fn turn_page(&mut self) -> Result<(), FinanceError> {
        let Some(mut snapshot) = self.snapshot.take() else { return Ok(()) };
        let page = journal::page(&mut snapshot, self.scope, self.end, PAGE_ROWS).await?;
        self.end = page.last().map(Position::of);
        if i64::try_from(page.len()).is_ok_and(|rows| rows < PAGE_ROWS) {
            snapshot.rollback().await?;
        } else {
            self.snapshot = Some(snapshot);
        }
        self.page = page.into_iter();
        Ok(())
    }
}
