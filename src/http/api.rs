//! The one list of routes: it feeds the server, the API document, `Allow` and CORS.

use std::sync::Arc;

use actix_web::web;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::state::AppState;
use crate::http::{
    accounts, admin, catalog, charges, checkouts, credits, disputes, docs, document, events,
    grants, ledger, past, quotes, receipts, results, sandbox, service, topups, verifiers, waiting,
    wallets, webhooks,
};

/// The routes of a process and what their handlers work with.
pub fn routes(state: Arc<AppState>) -> impl Fn(&mut ServiceConfig<'_>) + Clone + Send + 'static {
    let data = web::Data::from(state);
    move |config| {
        config.app_data(data.clone());
        mount(config, data.sandbox.is_some());
    }
}

/// The API document as it is published: with the routes of the sandbox.
pub fn api_document() -> utoipa::openapi::OpenApi {
    document(|config| mount(config, true))
}

/// The API document as it is committed: pretty, with a line break at its end.
pub fn api_document_json() -> String {
    let json = api_document().to_pretty_json();
    json.expect("a document of plain strings and maps serializes") + "\n"
}

fn mount(config: &mut ServiceConfig<'_>, with_sandbox: bool) {
    config.service(accounts::open_account);
    config.service(wallets::issue_challenge).service(wallets::claim_wallet);
    config.service(topups::topup).service(topups::get_topup).service(topups::find_topups);
    config.service(credits::read_credits).service(credits::read_history);
    config.service(credits::list_lots);
    config.service(catalog::read_catalog).service(catalog::read_sku);
    config.service(quotes::request_quote);
    config.service(checkouts::open_checkout).service(checkouts::list_checkouts);
    config.service(checkouts::read_checkout).service(checkouts::cancel_checkout);
    config.service(results::submit_results).service(results::list_results);
    config.service(results::read_result).service(results::judge_result);
    config.service(waiting::list_waiting_results);
    config.service(charges::list_charges).service(charges::read_charge);
    config.service(charges::reverse_charge).service(disputes::dispute_charge);
    config.service(disputes::list_disputes).service(disputes::decide_dispute);
    config.service(receipts::read_charge_receipt).service(receipts::read_reversal_receipt);
    config.service(receipts::read_result_receipt);
    config.service(ledger::export_journal).service(ledger::read_trial_balance);
    config.service(past::read_balances).service(past::read_statement);
    config.service(events::list_events);
    config.service(webhooks::create_webhook).service(webhooks::list_webhooks);
    config.service(webhooks::read_webhook).service(webhooks::delete_webhook);
    config.service(webhooks::rotate_webhook).service(webhooks::replay_events);
    config.service(webhooks::list_deliveries);
    config.service(verifiers::register_verifier).service(verifiers::list_verifiers);
    config.service(catalog::list_sku).service(admin::issue_key).service(grants::give_credits);
    config.service(grants::list_grants).service(grants::cancel_grant);
    config.service(service::say_alive).service(service::say_ready);
    config.service(service::show_metrics).service(service::show_guide);
    config.service(docs::show_docs);
    if with_sandbox {
        config.service(sandbox::facilitator_supported);
        config.service(sandbox::facilitator_verify).service(sandbox::facilitator_settle);
        config.service(sandbox::open_faucet).service(sandbox::read_test_dollars);
        config.service(sandbox::arm_fault);
    }
}
