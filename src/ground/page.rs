use serde::Serialize;

/// One page of a list, newest first unless the list says otherwise, with the cursor of the next.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Pass it as `after` to read on; absent on the last page.
    pub next_cursor: Option<String>,
    /// Whether there is more.
    pub has_more: bool,
}

/// A page request that cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The page size is outside 1 to [`Page::LIMIT_MAX`].
    #[error("limit is 1 to 100")]
    Limit,
    /// The cursor was not made by this list.
    #[error("the cursor is not one that this list returned")]
    Cursor,
}

impl<T> Page<T> {
    /// The largest page.
    pub const LIMIT_MAX: u32 = 100;
    /// The page size when none is asked for.
    pub const LIMIT_DEFAULT: u32 = 20;

    /// Cuts a page out of up to `limit + 1` rows: the one too many only says that there is more.
    pub fn cut(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = if has_more { rows.last().map(cursor) } else { None };
        Self { data: rows, next_cursor, has_more }
    }
}
