use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

/// SHA-256 of nothing: what a hash tool prints when the key never reached it.
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Reads `0` or `1`.
pub(super) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("it is neither 0 nor 1"),
    }
}

/// Reads the hash of an operator key.
pub(super) fn key_hash(text: &str) -> Result<[u8; 32], &'static str> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "it is not a SHA-256 in hexadecimal")?;
    if hash == [0; 32] || text.eq_ignore_ascii_case(EMPTY_HASH) {
        return Err("it is the hash of no key");
    }
    Ok(hash)
}

/// Reads a key that encrypts.
pub(super) fn secret_key(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = bytes.ok_or("it is not base64 of 32 bytes")?;
    // Whoever types a key instead of making one repeats a character.
    if key.iter().all(|byte| *byte == key[0]) { Err("it is not random") } else { Ok(key) }
}

/// Reads addresses and networks of proxies.
pub(super) fn proxies(text: &str) -> Result<Vec<IpNet>, String> {
    text.split(',').map(str::trim).map(proxy).collect()
}

/// A network of length 0 would believe the forwarding header of every client.
fn proxy(text: &str) -> Result<IpNet, String> {
    let alone = text.parse::<IpAddr>().map(IpNet::from);
    let net = alone.or_else(|_| text.parse::<IpNet>());
    let net = net.map_err(|_| format!("`{text}` is neither an address nor a network"))?;
    if net.prefix_len() == 0 {
        return Err(format!("{text} is every address there is"));
    }
    Ok(net)
}
