//! Who may spend: accounts, API keys, wallets that own an account, the budgets of free signups, and the
//! promotional credits that are given.
//!
//! An account is a book. A key is stored as a claim on its hash; what it may do is read from its row
//! at every request, and, for a customer key that spends, again under the book's lock (the ledger's
//! spender). Staff keys (fulfiller, verifier, operator) live in the house book.
//!
//! This floor answers who is calling. What a caller may do is decided where it is done.

mod api_key;
mod command;
mod error;
mod grant;
mod store;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::db::claims::{self, ClaimKind, Holder};
use crate::ground::{Amount, BookId, Clock, Entropy, KeyId, Mode, Recent, sha256};
use crate::ledger::{self, Engine, Span, SubmitError};

pub use api_key::{ApiKey, ApiKeyError, key_hash};
pub use command::{CapSetting, NewKey};
pub use error::AccountError;
pub use grant::{
    GrantDate, GrantQuery, GrantRefusal, GrantState, GrantView, Granter, NewGrant, OverdueGrants,
    WAITING_GRANTS_MAX,
};
pub use store::{Challenge, Principal};

use command::{Enroll, Enrollment};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Tops up, checks out, cancels, reads its own.
    Customer,
    /// Submits results for listed SKUs.
    Fulfiller,
    /// Posts verdicts for listed SKUs, and reverses its late failures.
    Verifier,
    /// Administers.
    Operator,
}

impl KeyRole {
    /// The name in the table `api_key`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Fulfiller => "fulfiller",
            Self::Verifier => "verifier",
            Self::Operator => "operator",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Customer, Self::Fulfiller, Self::Verifier, Self::Operator]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// What free signups may cost.
#[derive(Clone, Debug)]
pub struct SignupSettings {
    /// Promotional credits of a fresh account.
    pub grant: Amount,
    /// The most that all grants of one UTC day may add up to.
    pub grant_budget_per_day: Amount,
    /// How long promotional credits live.
    pub grant_days: u32,
    /// Signups of one client address within an hour.
    pub signups_per_hour: u32,
    /// How long a wallet challenge is good for.
    pub challenge_seconds: u32,
    /// Wallet challenges handed out to one client address within an hour.
    pub challenges_per_hour: u32,
}

/// An account that has just come into being. The key is shown this once.
#[derive(Debug)]
pub struct SignedUp {
    pub account: BookId,
    pub key_id: KeyId,
    pub key: ApiKey,
    pub granted: Amount,
    pub grant_expires_at: Option<DateTime<Utc>>,
}

/// A key that has just been issued. It is shown this once.
#[derive(Debug)]
pub struct Issued {
    pub account: BookId,
    pub key_id: KeyId,
    pub key: ApiKey,
}

/// The verbs of this floor.
#[derive(Clone)]
pub struct Accounts {
    pool: PgPool,
    engine: Engine,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    mode: Mode,
    settings: SignupSettings,
    /// SHA-256 of an operator key that comes from the configuration, not from the database.
    admin_key_hash: Option<[u8; 32]>,
    /// Customer keys by their hash. Whose a key is never changes; what it may do is not in here.
    known: Arc<Recent<[u8; 32], Principal>>,
}

/// How many customer keys are remembered.
const KNOWN_MAX: usize = 50_000;

impl Accounts {
    pub fn new(
        pool: PgPool,
        engine: Engine,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        mode: Mode,
        settings: SignupSettings,
        admin_key_hash: Option<[u8; 32]>,
    ) -> Self {
        let known = Arc::new(Recent::new(KNOWN_MAX));
        Self { pool, engine, clock, entropy, mode, settings, admin_key_hash, known }
    }

    /// Who a key belongs to. A key of the other mode, a mistyped and an unknown one are told apart;
    /// a revoked or expired one is refused.
    pub async fn authenticate(&self, text: &str) -> Result<Principal, AccountError> {
        let hash = self.read_key(text)?;
        self.look_up(hash).await
    }

    /// Who a key belongs to, as far as that is enough: for requests that become commands of the
    /// ledger, which looks at the key again under the book's lock. It authenticates and authorises
    /// nothing, so it need not ask the database each time.
    pub async fn identify(&self, text: &str) -> Result<Principal, AccountError> {
        let hash = self.read_key(text)?;
        if let Some(principal) = self.known.get(&hash)
            && principal.expires_at.is_none_or(|expiry| expiry > self.clock.now())
        {
            return Ok(principal);
        }
        let principal = self.look_up(hash).await?;
        if principal.role == KeyRole::Customer {
            self.known.change(hash, |_| ((), principal.clone()));
        }
        Ok(principal)
    }

    fn read_key(&self, text: &str) -> Result<[u8; 32], AccountError> {
        let key = ApiKey::parse(text)?;
        if key.mode() != self.mode {
            return Err(AccountError::ModeMismatch { key: key.mode() });
        }
        Ok(key_hash(text))
    }

    async fn look_up(&self, hash: [u8; 32]) -> Result<Principal, AccountError> {
        if self.admin_key_hash == Some(hash) {
            return Ok(Principal::configured_operator());
        }
        let principal = store::principal(&self.pool, &hash).await?;
        let principal = principal.ok_or(AccountError::KeyUnknown)?;
        if principal.revoked_at.is_some() {
            return Err(AccountError::KeyRevoked);
        }
        if principal.expires_at.is_some_and(|expiry| expiry <= self.clock.now()) {
            return Err(AccountError::KeyExpired);
        }
        Ok(principal)
    }

    /// Opens an account without any human. The grant is given as long as the day's budget lasts.
    pub async fn sign_up(
        &self,
        client: &str,
        name: &str,
        caps: Vec<CapSetting>,
    ) -> Result<SignedUp, AccountError> {
        self.refuse_while_restored().await?;
        let at = self.clock.now();
        let per_hour = i64::from(self.settings.signups_per_hour);
        let quota = quota("signup", client);
        if !store::take_budget(&self.pool, &quota, hour(at), 1, per_hour).await? {
            return Err(AccountError::SignupQuotaExhausted);
        }
        let granted = self.reserve_grant(at).await?;
        let account = BookId::mint_book(self.entropy.as_ref(), at);
        let key_id = KeyId::mint(self.entropy.as_ref(), at, account.slot());
        let expires_at =
            at.checked_add_signed(TimeDelta::days(i64::from(self.settings.grant_days)));
        let grant = expires_at.filter(|_| !granted.is_zero()).map(|expiry| (granted, expiry));
        ledger::open_book(&self.pool, account, at).await?;
        let new = NewKey::customer(key_id, name);
        let enrollment =
            Enrollment { account: Some(("signup", None)), grant, caps, ..Enrollment::default() };
        let issued = self.issue(account, new, enrollment).await?;
        let grant_expires_at = grant.map(|(_, expiry)| expiry);
        Ok(SignedUp { account, key_id, key: issued.key, granted, grant_expires_at })
    }

    /// Issues a key: for a customer's account, or for staff, in the house book.
    pub async fn issue_key(
        &self,
        account: BookId,
        new: NewKey,
        caps: Vec<CapSetting>,
    ) -> Result<Issued, AccountError> {
        self.refuse_while_restored().await?;
        if new.role == KeyRole::Customer && account == BookId::HOUSE {
            return Err(AccountError::AccountUnknown);
        }
        // Books never go away. Looked up before the key is claimed, an unknown one leaves no claim.
        if ledger::balance(&self.pool, account).await?.is_none() {
            return Err(AccountError::AccountUnknown);
        }
        let enrollment = Enrollment { caps, cap_key: true, ..Enrollment::default() };
        self.issue(account, new, enrollment).await
    }

    /// The engine would refuse as well, after quotas, nonces and claims have been used up.
    async fn refuse_while_restored(&self) -> Result<(), AccountError> {
        if ledger::is_restored(&self.pool).await? {
            return Err(SubmitError::Restored.into());
        }
        Ok(())
    }

    /// A fresh key id in an account's slot.
    pub fn fresh_key_id(&self, account: BookId) -> KeyId {
        KeyId::mint(self.entropy.as_ref(), self.clock.now(), account.slot())
    }

    async fn issue(
        &self,
        account: BookId,
        new: NewKey,
        enrollment: Enrollment,
    ) -> Result<Issued, AccountError> {
        let key = ApiKey::generate(self.entropy.as_ref(), self.mode);
        let key_id = new.id;
        // The claim commits first: a hash that was ever handed out can never name another key.
        let holder = Holder { book: account, subject: key_id.0 };
        let hash = key_hash(key.reveal());
        let at = self.clock.now();
        claims::claim(&self.pool, ClaimKind::ApiKey, &hash, holder, at).await?;
        let hint = key.hint();
        self.engine.submit(Arc::new(Enroll { account, new, hint, enrollment })).await?;
        Ok(Issued { account, key_id, key })
    }

    async fn reserve_grant(&self, at: DateTime<Utc>) -> Result<Amount, AccountError> {
        let grant = self.settings.grant;
        let budget = self.settings.grant_budget_per_day.micros();
        let day = Span::Day.window_start(at);
        let within = !grant.is_zero()
            && store::take_budget(&self.pool, "signup_grant", day, grant.micros(), budget).await?;
        Ok(if within { grant } else { Amount::ZERO })
    }

    /// The account of a wallet: opened when it first pays or signs in. Its id is derived from the
    /// address (lower case), so that every replica finds the same one.
    pub async fn open_wallet(&self, address: &str) -> Result<BookId, AccountError> {
        let account = wallet_book(address);
        if ledger::balance(&self.pool, account).await?.is_some() {
            return Ok(account);
        }
        let at = self.clock.now();
        let key = claims::wallet_key(address);
        let holder = Holder { book: account, subject: account.0 };
        claims::claim(&self.pool, ClaimKind::Wallet, &key, holder, at).await?;
        ledger::open_book(&self.pool, account, at).await?;
        store::open_account(&self.pool, account, "wallet", Some(address), at).await?;
        Ok(account)
    }

    /// A nonce for sign-in-with-x, good once.
    pub async fn challenge(&self, client: &str) -> Result<Challenge, AccountError> {
        let at = self.clock.now();
        let per_hour = i64::from(self.settings.challenges_per_hour);
        let quota = quota("challenge", client);
        if !store::take_budget(&self.pool, &quota, hour(at), 1, per_hour).await? {
            return Err(AccountError::SignupQuotaExhausted);
        }
        let nonce = hex::encode(self.entropy.array::<16>());
        let life = TimeDelta::seconds(i64::from(self.settings.challenge_seconds));
        let expires_at = at.checked_add_signed(life).unwrap_or(at);
        let challenge = Challenge { nonce, issued_at: at, expires_at };
        store::keep_challenge(&self.pool, &challenge).await?;
        Ok(challenge)
    }

    /// Gives a key for the account of a wallet that has proven itself with this nonce. The nonce is
    /// used up by one atomic statement.
    pub async fn claim_wallet(&self, address: &str, nonce: &str) -> Result<Issued, AccountError> {
        self.refuse_while_restored().await?;
        if !store::use_challenge(&self.pool, nonce, self.clock.now()).await? {
            return Err(AccountError::NonceUnknown);
        }
        let account = self.open_wallet(address).await?;
        let new = NewKey::customer(self.fresh_key_id(account), "wallet");
        self.issue(account, new, Enrollment::default()).await
    }

    /// Forgets counters and nonces whose time is long over.
    pub async fn forget_old(&self) -> Result<(), AccountError> {
        let before = self.clock.now().checked_sub_signed(TimeDelta::days(2));
        if let Some(before) = before {
            store::forget_before(&self.pool, before).await?;
        }
        Ok(())
    }
}

/// The name of a client's quota. Addresses are kept only as hashes.
fn quota(of: &str, client: &str) -> String {
    format!("{of}:{}", hex::encode(sha256([b"client".as_slice(), client.as_bytes()])))
}

fn hour(at: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = at.timestamp();
    let start = seconds.saturating_sub(seconds.rem_euclid(3600));
    DateTime::from_timestamp(start, 0).unwrap_or(at)
}

/// The book of a wallet: a UUID of version 8 (RFC 9562) made from the hash of its address.
fn wallet_book(address: &str) -> BookId {
    let hash = sha256([b"wallet-book".as_slice(), address.to_ascii_lowercase().as_bytes()]);
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    BookId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// The id of an operator that the configuration names.
pub(crate) const CONFIGURED_OPERATOR: KeyId =
    KeyId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0100));
