use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;
use crate::ground::{SeededEntropy, SystemEntropy};

const ID: &str = "organizations/3f1e/apiKeys/77aa";
const SETTLE: &str = "https://api.cdp.coinbase.com/platform/v2/x402/settle";

/// As OpenSSL writes one: `openssl ecparam -genkey` and `openssl pkcs8 -topk8 -nocrypt`.
const OPENSSL_P256: [&str; 3] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6cjD2WIhjTbkbnaU",
    "UxtfMRP9sfipJ+WsXxgmLFgj3BGhRANCAARnQx9hOrO+KGcH/MUmDUFvBp/J9dbM",
    "H2J45CTUAmUjoTcpD0QciAVXr7mxzmuhPfLu4coXoahxPCQQBOB3Or+7",
];

fn pem(kind: &str, lines: &[&str], end: &str) -> String {
    format!("-----BEGIN {kind}-----{end}{}{end}-----END {kind}-----{end}", lines.join(end))
}

fn ed25519() -> (String, Vec<u8>) {
    let seed = [7; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    (STANDARD.encode([seed.as_slice(), &public].concat()), public)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_163_600, 0).unwrap()
}

/// Header and claims of a token whose signature holds.
fn opened(token: &HeaderValue, how: &'static dyn VerificationAlgorithm, key: &[u8]) -> [Value; 2] {
    let token = token.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert_eq!(signature.len(), 64);
    let key = UnparsedPublicKey::new(how, key);
    key.verify(signed.as_bytes(), &signature).expect("the signature holds");
    assert!(key.verify(format!("{signed}x").as_bytes(), &signature).is_err());
    let (header, claims) = signed.split_once('.').unwrap();
    [header, claims]
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
}

#[test]
fn the_token_has_exactly_the_form_that_coinbase_asks_for() {
    let (secret, public) = ed25519();
    let key = CdpKey::new(ID, &secret).unwrap();
    let entropy = SeededEntropy::new(1);
    let same: &dyn Entropy = &SeededEntropy::new(1);
    let nonce: [u8; 16] = same.array();
    let token = key.bearer("POST", &url(SETTLE), at(), &entropy).unwrap();
    let [header, claims] = opened(&token, &ED25519, &public);
    let expected = json!({"alg": "EdDSA", "kid": ID, "typ": "JWT", "nonce": hex::encode(nonce)});
    assert_eq!(header, expected);
    assert_eq!(
        claims,
        json!({
            "sub": ID, "iss": "cdp",
            "uris": ["POST api.cdp.coinbase.com/platform/v2/x402/settle"],
            "iat": 1_795_163_600, "nbf": 1_795_163_600, "exp": 1_795_163_720,
        })
    );
    let supported = url("https://api.cdp.coinbase.com/platform/v2/x402/supported");
    let token = key.bearer("GET", &supported, at(), &entropy).unwrap();
    let [header, claims] = opened(&token, &ED25519, &public);
    assert_eq!(claims["uris"], json!(["GET api.cdp.coinbase.com/platform/v2/x402/supported"]));
    assert_ne!(header["nonce"], hex::encode(nonce), "each request has its own");
}

#[test]
fn a_p256_key_signs_too_however_its_lines_are_broken() {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let made = STANDARD.encode(made.unwrap());
    for lines in [OPENSSL_P256.as_slice(), &[made.as_str()]] {
        let der = STANDARD.decode(lines.concat()).unwrap();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random);
        let public = pair.unwrap().public_key().as_ref().to_vec();
        for end in ["\n", "\\n", "\r\n", " "] {
            let key = CdpKey::new(ID, &pem("PRIVATE KEY", lines, end)).unwrap();
            let token = key.bearer("POST", &url(SETTLE), at(), &SystemEntropy).unwrap();
            let [header, claims] = opened(&token, &ECDSA_P256_SHA256_FIXED, &public);
            assert_eq!([&header["alg"], &header["kid"], &claims["sub"]], ["ES256", ID, ID]);
        }
    }
}

#[test]
fn nobody_else_gets_a_token() {
    let (secret, _) = ed25519();
    let key = CdpKey::new(ID, &secret).unwrap();
    for elsewhere in [
        "http://api.cdp.coinbase.com/platform/v2/x402/settle",
        "https://api.cdp.coinbase.com:8443/platform/v2/x402/settle",
        "https://api.cdp.coinbase.com.example.org/platform/v2/x402/settle",
        "https://cdp.coinbase.com/platform/v2/x402/settle",
        "https://example.org/api.cdp.coinbase.com/settle",
        "https://api.cdp.coinbase.com@example.org/settle",
        "http://127.0.0.1:8402/sandbox/facilitator/settle",
    ] {
        assert!(!key.is_for(&url(elsewhere)), "{elsewhere}");
        assert_eq!(key.bearer("POST", &url(elsewhere), at(), &SystemEntropy), None, "{elsewhere}");
    }
    assert!(key.is_for(&url("https://API.cdp.coinbase.com/x")), "hosts have no case");
}

#[test]
fn what_is_no_secret_is_refused_without_a_word_of_it() {
    let (secret, _) = ed25519();
    let bytes = STANDARD.decode(&secret).unwrap();
    let mixed = STANDARD.encode([&bytes[..32], &[9; 32]].concat());
    let p384 = "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDA=";
    for (text, error) in [
        ("", CdpKeyError::Form),
        ("hunter2", CdpKeyError::Form),
        (&STANDARD.encode(&bytes[..63]), CdpKeyError::Form),
        (&STANDARD.encode([&bytes[..], &[0]].concat()), CdpKeyError::Form),
        (&mixed, CdpKeyError::Ed25519),
        (&pem("EC PRIVATE KEY", &OPENSSL_P256, "\n"), CdpKeyError::Sec1),
        (&pem("PUBLIC KEY", &OPENSSL_P256, "\n"), CdpKeyError::Form),
        (&pem("PRIVATE KEY", &["%"], "\n"), CdpKeyError::Form),
        (&pem("PRIVATE KEY", &OPENSSL_P256[..2], "\n"), CdpKeyError::P256),
        (&pem("PRIVATE KEY", &[p384], "\n"), CdpKeyError::P256),
    ] {
        assert_eq!(CdpKey::check_secret(text), Err(error), "{text}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[test]
fn neither_key_nor_token_is_shown() {
    let (secret, _) = ed25519();
    let key = CdpKey::new(ID, &secret).unwrap();
    assert_eq!(format!("{key:?}"), "CdpKey(hidden)");
    let token = key.bearer("POST", &url(SETTLE), at(), &SystemEntropy).unwrap();
    assert_eq!(format!("{token:?}"), "Sensitive");
}
