//! Who is calling, and whether that kind of key may do what it asks.

use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpRequest, web};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;

use crate::accounts::{KeyRole, Principal};
use crate::checkout::Staff;
use crate::ground::BookId;
use crate::http::extract::{Bearer, bearer};
use crate::http::state::AppState;
use crate::http::{Code, Problem, vouch};

/// The principal of the request's API key, if there is one. A key that is not valid is refused.
#[derive(Clone, Debug)]
pub struct OptionalCaller(pub Option<Principal>);

/// The roles that may use a route.
pub trait Access: 'static {
    /// All of them.
    const ROLES: &'static [KeyRole];
    /// Whether the ledger looks at the key again under the book's lock, so that here it is enough to
    /// know whose it is.
    const UNDER_LOCK: bool = false;
}

macro_rules! accesses {
    ($($(#[$doc:meta])* $name:ident: $($role:ident),+;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}

            impl Access for $name {
                const ROLES: &'static [KeyRole] = &[$(KeyRole::$role),+];
            }
        )+
    };
}

accesses! {
    /// Spends and reads its own. No other kind of key spends a customer's money.
    Customer: Customer;
    /// Delivers. A customer key never does, not even on its own checkout.
    Fulfiller: Fulfiller, Operator;
    /// Judges and reverses. A customer key never does, not even on its own checkout.
    Verifier: Verifier, Operator;
    /// Administers.
    Operator: Operator;
    /// Reads: a customer its own, an operator everything.
    Reader: Customer, Operator;
}

/// Spends: the ledger judges the key, when it is its turn.
#[derive(Clone, Copy, Debug)]
pub enum Spender {}

impl Access for Spender {
    const ROLES: &'static [KeyRole] = Customer::ROLES;
    const UNDER_LOCK: bool = true;
}

/// A caller of the right kind, and what it asks. Nothing of the request is looked at before the key
/// is known to be good, so that a stranger learns nothing but that a key is needed.
#[derive(Clone, Debug)]
pub struct Granted<A, T = ()> {
    /// Who asks.
    pub caller: Principal,
    /// What is asked.
    pub asked: T,
    access: PhantomData<A>,
}

impl FromRequest for OptionalCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move { Ok(Self(caller(&request, false).await?)) }.boxed_local()
    }
}

async fn caller(request: &HttpRequest, under_lock: bool) -> Result<Option<Principal>, Problem> {
    let Some(Bearer(key)) = bearer(request.headers())? else { return Ok(None) };
    let state = request.app_data::<web::Data<AppState>>();
    let state = state.ok_or_else(|| Problem::new(Code::Internal))?;
    let principal = match under_lock {
        true => state.accounts.identify(&key).await?,
        false => state.accounts.authenticate(&key).await?,
    };
    vouch(request);
    Ok(Some(principal))
}

impl<A: Access, T: FromRequest + 'static> FromRequest for Granted<A, T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move {
            let missing = || Problem::new(Code::Unauthenticated).field("Authorization");
            let caller = caller(&request, A::UNDER_LOCK).await?.ok_or_else(missing)?;
            admit::<A>(&caller)?;
            // The body has been read by then and is kept with the request.
            let asked = T::from_request(&request, &mut Payload::None).await.map_err(Into::into)?;
            Ok(Self { caller, asked, access: PhantomData })
        }
        .boxed_local()
    }
}

fn admit<A: Access>(caller: &Principal) -> Result<(), Problem> {
    if A::ROLES.contains(&caller.role) {
        return Ok(());
    }
    let names: Vec<_> = A::ROLES.iter().map(|role| role.name()).collect();
    let wanted = names.join(" or ");
    Err(Problem::new(Code::ScopeMissing)
        .detail(format!("this is a {} key, and a {wanted} key is needed", caller.role.name()))
        .with("role", caller.role.name())
        .with("required_roles", json!(names)))
}

impl<T> Granted<Fulfiller, T> {
    /// The caller as whoever delivers.
    pub fn staff(&self) -> Staff {
        staff(&self.caller)
    }
}

impl<T> Granted<Verifier, T> {
    /// The caller as whoever judges.
    pub fn staff(&self) -> Staff {
        staff(&self.caller)
    }
}

fn staff(caller: &Principal) -> Staff {
    let skus = match caller.role {
        KeyRole::Operator => None,
        // Without a list a customer key would serve everything; it serves nothing.
        KeyRole::Customer => Some(Vec::new()),
        KeyRole::Fulfiller | KeyRole::Verifier => caller.skus.clone(),
    };
    Staff { key: caller.key, skus }
}

/// The account that is asked for. What belongs to another customer is not there.
pub fn whose(caller: &Principal, asked: Option<BookId>) -> Result<BookId, Problem> {
    match (caller.role, asked) {
        (KeyRole::Operator, Some(account)) => Ok(account),
        (KeyRole::Operator, None) => Err(Problem::new(Code::ValidationFailed)
            .field("account_id")
            .detail("an operator names the account")),
        (KeyRole::Customer | KeyRole::Fulfiller | KeyRole::Verifier, None) => Ok(caller.account),
        (KeyRole::Customer | KeyRole::Fulfiller | KeyRole::Verifier, Some(account)) => {
            if account == caller.account { Ok(account) } else { Err(no_such_account()) }
        }
    }
}

/// The refusal of an account that is not there, or not for the caller.
pub fn no_such_account() -> Problem {
    Problem::new(Code::NotFound).field("account_id").detail("there is no such account")
}
