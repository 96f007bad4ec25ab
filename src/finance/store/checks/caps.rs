//! Cap usage against holds.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// What a cap has counted in a UTC window is what the holds placed in that window have not given
/// back. Windows that ended before the cap was made are not counted.
pub async fn usage(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with windows as (
             select c.slot, c.book_id, c.cap_id, c.span,
                    case c.span when 'total' then 'epoch'
                         else date_trunc(c.span, c.created_at, 'UTC') end as first,
                    case c.span when 'total' then 'epoch'
                         else date_trunc(c.span, h.placed_at, 'UTC') end as window_start,
                    h.amount - h.released - h.reversed as spent
             from cap c join hold h on h.slot = c.slot and h.book_id = c.book_id
               and (c.spender_id is null or c.spender_id = h.spender_id)
             where c.span <> 'checkout'),
           counted as (
             select slot, book_id, cap_id, window_start, sum(spent) as spent
             from windows where window_start >= first group by 1, 2, 3, 4),
           bad as (
             select book_id,
                    format('usage of cap_%s in the window from %s', replace(cap_id::text, '-', ''),
                           to_char(window_start at time zone 'UTC', 'YYYY-MM-DD')) as subject,
                    coalesce(c.spent, 0) as expected, coalesce(u.used, 0)::numeric as found
             from cap_usage u full join counted c using (slot, book_id, cap_id, window_start)
             where coalesce(c.spent, 0) <> coalesce(u.used, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
