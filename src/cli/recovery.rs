//! `bursar restore --read-chain`: what was paid since the backup, read again from the chain.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, PgConnection, PgPool};

use crate::accounts::Accounts;
use crate::config::{BaseUrl, Node, Settings};
use crate::db;
use crate::ground::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::ledger::{self, ConfirmedHow, Restoration};
use crate::telemetry;
use crate::x402::Network;
use crate::x402::chain::{Block, Chain, Incoming, RpcChain, Trace};
use crate::x402::topup::{OpenTopup, Recovered, TopUps};

use super::Failure;
use super::backup::confirm_all;
use super::database::{self, Database};
use super::output::print;
use super::payments::open_chain;
use super::service::{open_accounts, open_topups, start_engine};

/// How long before the backup reading begins: a settlement is on the chain before it is recorded.
const MARGIN: TimeDelta = TimeDelta::hours(1);

/// Reads the payments since the backup, credits what the ledger lacks, and confirms the restoration
/// when nothing is left open.
pub(super) async fn read_chain(confirmations: u64) -> Result<ExitCode, Failure> {
    let settings = Settings::from_env()?;
    telemetry::init(&settings.log.quiet())?;
    if settings.payment.nodes.is_empty() {
        return Err("BURSAR_RPC_URL is not set, and without it there is no chain to read; the \
                    operator can confirm with --confirm --reason TEXT"
            .into());
    }
    let database = database::join(&settings.database).await?;
    let read = recover(&settings, &database, confirmations).await;
    if let Some(managed) = database.managed {
        managed.stop().await?;
    }
    let (words, confirmed) = read?;
    print(words.as_bytes())?;
    Ok(if confirmed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn recover(
    settings: &Settings,
    database: &Database,
    confirmations: u64,
) -> Result<(String, bool), Failure> {
    let mut owner = PgConnection::connect_with(&database.owner).await?;
    if !db::is_whole(&mut owner).await? {
        return Err(
            "a restore was cut off before its end; make the database anew and restore again".into(),
        );
    }
    let restorations = ledger::unconfirmed(&mut owner).await?;
    owner.close().await?;
    let (Some(first), Some(last)) = (restorations.first(), restorations.last()) else {
        return Ok(("There is nothing to confirm: the ledger is open.\n".to_owned(), true));
    };
    let pool = db::service_pool(database.service.clone(), 4);
    db::check(&pool, settings.mode).await?;
    let books = Books::open(settings, &pool)?;
    let mut report = Report::default();
    let mut readings = Vec::new();
    for node in &settings.payment.nodes {
        let reading = Reading::open(&books, node).await?;
        let span = reading.span(first, last, confirmations, &mut report).await?;
        reading.read(span, &mut report).await?;
        readings.push((reading, span));
    }
    books.name_unread(settings, &mut report);
    for topup in books.topups.open_topups().await? {
        match readings.iter().find(|(reading, _)| reading.network.caip2 == topup.network) {
            Some((reading, span)) => reading.settle_open(&topup, *span, &mut report).await?,
            None => {
                let OpenTopup { id, network, .. } = topup;
                report.open.push(format!("{id} is on {network}, which is not read"));
            }
        }
    }
    drop(readings);
    drop(books);
    pool.close().await;
    let confirmed = report.open.is_empty();
    if confirmed {
        let reason = report.summary();
        confirm_all(&database.owner, ConfirmedHow::Chain, &reason).await?;
    }
    Ok((report.words(confirmed), confirmed))
}

/// The blocks to read, both included.
#[derive(Clone, Copy)]
struct Span {
    first: u64,
    last: Block,
}

/// What reading writes to.
struct Books {
    pay_to: String,
    topups: TopUps,
    accounts: Accounts,
}

impl Books {
    fn open(settings: &Settings, pool: &PgPool) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let engine = start_engine(settings, pool, &clock, &entropy);
        let accounts = open_accounts(settings, pool, &engine, &clock, &entropy);
        let local = BaseUrl::local(settings.http.bind);
        let public = local.join("");
        let topups = open_topups(settings, &local, &public, pool, &engine, &clock, &entropy)?;
        Ok(Self { pay_to: settings.payment.pay_to.lower(), topups, accounts })
    }

    /// Payments may have been made on every network that is offered.
    fn name_unread(&self, settings: &Settings, report: &mut Report) {
        let payment = &settings.payment;
        for network in &payment.networks {
            if !payment.nodes.iter().any(|node| node.network == *network) {
                let id = network.caip2;
                report.open.push(format!(
                    "payments on {id} are not read: BURSAR_RPC_URL names no node of it"
                ));
            }
        }
    }
}

/// What one network is read with.
struct Reading<'a> {
    books: &'a Books,
    chain: RpcChain,
    network: &'static Network,
}

impl<'a> Reading<'a> {
    async fn open(books: &'a Books, node: &Node) -> Result<Self, Failure> {
        let chain = open_chain(node)?;
        chain.confirm().await?;
        Ok(Self { books, chain, network: node.network })
    }

    /// From before the backup to as far as blocks are sure to stay. They must go past the restore:
    /// before it, whatever ran on the lost database may have had payments settled.
    async fn span(
        &self,
        first: &Restoration,
        last: &Restoration,
        confirmations: u64,
        report: &mut Report,
    ) -> Result<Span, Failure> {
        let head = self.chain.head().await?;
        let end = self.chain.block(head.number.saturating_sub(confirmations)).await?;
        let since = first.backup_as_of.checked_sub_signed(MARGIN).unwrap_or(first.backup_as_of);
        let begin = self.chain.first_block_since(since, end.number).await?;
        if end.time <= last.restored_at {
            report.open.push(format!(
                "the last block of {} with {confirmations} confirmations, {}, is of {}, before the \
                 restore at {}: repeat this in a while",
                self.network.caip2,
                end.number,
                time(end.time),
                time(last.restored_at)
            ));
        }
        let network = self.network.caip2;
        report.read.push(format!("blocks {begin} to {} of {network}", end.number));
        Ok(Span { first: begin, last: end })
    }

    async fn read(&self, span: Span, report: &mut Report) -> Result<(), Failure> {
        let asset = self.network.usdc.lower();
        let found =
            self.chain.incoming(&asset, &self.books.pay_to, span.first, span.last.number).await?;
        for payment in found {
            match &payment.nonce {
                Some(nonce) => self.credit(&payment, nonce, report).await?,
                None => report.stray(&payment),
            }
        }
        Ok(())
    }

    async fn credit(
        &self,
        payment: &Incoming,
        nonce: &str,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let wallet = self.books.accounts.open_wallet(&payment.from).await?;
        let at = self.chain.block(payment.block).await?.time;
        let recovered = self.books.topups.recover(self.network, payment, nonce, wallet, at).await?;
        report.payment(payment, &recovered);
        Ok(())
    }

    /// Looks for an answer to a top-up that the backup has in no final state.
    async fn settle_open(
        &self,
        topup: &OpenTopup,
        span: Span,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let OpenTopup { asset, payer, nonce, .. } = topup;
        if self.chain.authorization_used(asset, payer, nonce).await? {
            self.find(topup, span, report).await?;
        } else if topup.valid_before.is_some_and(|end| end <= span.last.time) {
            report.over = report.over.saturating_add(1);
        } else {
            let until = topup.valid_before.map(time).unwrap_or_default();
            report.open.push(format!("{} may still be settled, until {until}", topup.id));
        }
        Ok(())
    }

    /// An open top-up whose authorization is used, outside the blocks that were read.
    async fn find(
        &self,
        topup: &OpenTopup,
        span: Span,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let since = topup.created_at.checked_sub_signed(MARGIN).unwrap_or(topup.created_at);
        let from = self.chain.first_block_since(since, span.last.number).await?;
        let OpenTopup { asset, payer, nonce, .. } = topup;
        match self.chain.find_authorization(asset, payer, nonce, from).await? {
            Trace::Used { transaction } => {
                let paid = self.chain.incoming_of(asset, &topup.pay_to, &transaction).await?;
                let ours = |paid: &&Incoming| paid.nonce.as_deref() == Some(nonce);
                match paid.iter().find(ours).filter(|paid| paid.block <= span.last.number) {
                    Some(payment) => self.credit(payment, nonce, report).await?,
                    None => report.open.push(format!(
                        "{}: its authorization was used in {transaction}, which has too few \
                         confirmations or paid somebody else",
                        topup.id
                    )),
                }
            }
            Trace::Canceled { .. } => report.over = report.over.saturating_add(1),
            Trace::Absent => report.open.push(format!(
                "{}: its authorization is used, and no log says in which transaction",
                topup.id
            )),
        }
        Ok(())
    }
}

/// What was found.
#[derive(Default)]
struct Report {
    read: Vec<String>,
    lines: Vec<String>,
    credited: u64,
    known: u64,
    /// Top-ups that can never be settled any more.
    over: u64,
    strays: u64,
    /// What keeps the ledger closed.
    open: Vec<String>,
}

impl Report {
    fn payment(&mut self, payment: &Incoming, recovered: &Recovered) {
        let what = match recovered {
            Recovered::Known { topup } => {
                self.known = self.known.saturating_add(1);
                format!("known     {topup}")
            }
            Recovered::Credited { topup, account } => {
                self.credited = self.credited.saturating_add(1);
                format!("credited  {topup} to {account}")
            }
            Recovered::Doubtful { topup, why } => {
                self.open.push(format!("{topup}: {why}; see {}", payment.transaction));
                format!("DOUBTFUL  {topup}: {why}")
            }
        };
        self.line(payment, &what);
    }

    fn stray(&mut self, payment: &Incoming) {
        self.strays = self.strays.saturating_add(1);
        self.line(payment, "STRAY     no authorization explains it; nobody was credited");
    }

    fn line(&mut self, payment: &Incoming, what: &str) {
        let Incoming { amount, from, transaction, block, .. } = payment;
        let amount = amount.to_string();
        self.lines.push(format!("  {block:>10}  {amount:>14}  {from}  {what}  {transaction}"));
    }

    fn summary(&self) -> String {
        format!(
            "read {}: {} payments credited, {} known, {} open top-ups over, {} stray transfers",
            self.read.join(", "),
            self.credited,
            self.known,
            self.over,
            self.strays
        )
    }

    fn words(&self, confirmed: bool) -> String {
        let mut words = format!("{}\n", self.summary());
        if !self.lines.is_empty() {
            words.push_str("       block          amount  payer\n");
        }
        for line in &self.lines {
            words.push_str(line);
            words.push('\n');
        }
        if self.strays > 0 {
            words.push_str("\nSTRAY MONEY arrived that belongs to no top-up; see to it by hand.\n");
        }
        if confirmed {
            words.push_str("\nConfirmed. The ledger is open.\n");
            return words;
        }
        words.push_str("\nNOT CONFIRMED. The ledger stays closed, because:\n");
        for open in &self.open {
            // Writing into a text cannot fail.
            let _ = writeln!(words, "  - {open}");
        }
        words
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339()
}
