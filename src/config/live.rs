use crate::ground::Mode;

use super::payment::pay_to;
use super::reader::Reader;
use super::settings::{Facilitator, ListedFacilitator, Settings};
use super::url::is_private;
use super::variables::{
    FACILITATOR_URL, PAY_TO, PUBLIC_URL, Preset, RPC_URL, TEST_PAY_TO, TRUST_FACILITATOR,
    VARIABLES, Variable,
};

/// Refuses to start live without everything that live mode needs.
pub(super) fn check(reader: &mut Reader<'_>, settings: &Settings) {
    if reader.mode() != Some(Mode::Live) {
        return;
    }
    for variable in VARIABLES {
        require(reader, variable);
    }
    if settings.http.public_url.as_ref().is_some_and(|url| !url.is_https()) {
        reader.refuse(&PUBLIC_URL, "live mode needs https");
    }
    let test_address = pay_to(TEST_PAY_TO).ok();
    if Some(settings.payment.pay_to) == test_address {
        reader.refuse(&PAY_TO, "nobody holds the key of the test address");
    }
    check_facilitator(reader, settings);
    check_trust(reader, settings);
    check_nodes(reader, settings);
}

/// Refuses when a variable that live mode needs is unset.
pub(super) fn require(reader: &mut Reader<'_>, variable: &Variable) {
    if variable.live == Preset::Required && reader.set(variable).is_none() {
        reader.refuse(variable, "live mode needs it");
    }
}

/// A facilitator that pays nothing out would let anyone print credits.
fn check_facilitator(reader: &mut Reader<'_>, settings: &Settings) {
    let Facilitator::Listed(listed) = &settings.payment.facilitator else { return };
    for ListedFacilitator { url, .. } in listed {
        if !url.is_https() {
            reader.refuse(&FACILITATOR_URL, "live mode needs https");
        }
        let own = settings.http.public_url.as_ref().is_some_and(|own| own.same_origin(url));
        if own || url.is_sandbox() {
            reader.refuse(&FACILITATOR_URL, "live mode takes no sandbox's word");
        }
    }
}

/// What a node says decides about money, and its address may carry a key.
fn check_nodes(reader: &mut Reader<'_>, settings: &Settings) {
    if settings.payment.nodes.iter().any(|node| !is_private(node.url.reveal())) {
        reader.refuse(&RPC_URL, "live mode needs https, except on this machine");
    }
}

/// A node speaks for one network; a payment on another rests on the facilitator's word.
fn check_trust(reader: &mut Reader<'_>, settings: &Settings) {
    let payment = &settings.payment;
    if !payment.reads_every_chain() && !payment.trust_facilitator && !reader.has_problem(&RPC_URL) {
        reader.refuse(&TRUST_FACILITATOR, "live mode needs proof or trust for every network");
    }
}
