//! What a database error means for a batch.

/// What to do with a batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It surely did not commit, and may well succeed: the whole batch again.
    Conflict,
    /// The connection is gone, perhaps at COMMIT: the whole batch again, and the records read under
    /// the lock answer what had committed.
    Lost,
    /// A row that the database refuses: halve the batch until the culprit stands alone.
    Culprit,
    /// Anything else.
    Broken,
}

/// Classifies by SQLSTATE (PostgreSQL documentation, appendix A).
pub(super) fn classify(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // Serialization failure, deadlock, lock not available, statement timed out.
            Some("40001" | "40P01" | "55P03" | "57014") => Failure::Conflict,
            Some(code) if code.starts_with("22") || code.starts_with("23") => Failure::Culprit,
            // Connection exceptions, operator intervention (shutdown, crash), no resources,
            // idle-in-transaction timeout, read-only after a failover.
            Some(code)
                if code.starts_with("08")
                    || code.starts_with("57P")
                    || code.starts_with("53")
                    || code == "25P03"
                    || code == "25006" =>
            {
                Failure::Lost
            }
            Some(_) | None => Failure::Broken,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Failure::Lost,
        _ => Failure::Broken,
    }
}
