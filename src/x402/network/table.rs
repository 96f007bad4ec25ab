//! The USDC contracts that the official clients know by default, with the EIP-712 domain of each.
//! A wrong name makes every signature fail.

use super::Network;
use crate::x402::Address;

// What most rows of the table share.
const MAINNET: Network = Network {
    caip2: "",
    chain_id: 0,
    v1_name: None,
    v1_known: false,
    usdc: Address::new([0; 20]),
    domain_name: "USDC",
    domain_version: "2",
    mainnet: true,
};
const TESTNET: Network = Network { mainnet: false, ..MAINNET };
const CIRCLE_NAME: &str = "USD Coin";

pub(super) static NETWORKS: [Network; 13] = [
    Network {
        caip2: "eip155:8453",
        chain_id: 8453,
        v1_name: Some("base"),
        v1_known: true,
        usdc: Address::literal("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        domain_name: CIRCLE_NAME,
        ..MAINNET
    },
    Network {
        caip2: "eip155:84532",
        chain_id: 84_532,
        v1_name: Some("base-sepolia"),
        v1_known: true,
        usdc: Address::literal("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        ..TESTNET
    },
    Network {
        caip2: "eip155:1",
        chain_id: 1,
        v1_name: Some("ethereum"),
        usdc: Address::literal("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
        domain_name: CIRCLE_NAME,
        ..MAINNET
    },
    Network {
        caip2: "eip155:137",
        chain_id: 137,
        v1_name: Some("polygon"),
        v1_known: true,
        usdc: Address::literal("0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"),
        domain_name: CIRCLE_NAME,
        ..MAINNET
    },
    Network {
        caip2: "eip155:43114",
        chain_id: 43_114,
        v1_name: Some("avalanche"),
        v1_known: true,
        usdc: Address::literal("0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"),
        domain_name: CIRCLE_NAME,
        ..MAINNET
    },
    Network {
        caip2: "eip155:42161",
        chain_id: 42_161,
        usdc: Address::literal("0xaf88d065e77c8cC2239327C5EDb3A432268e5831"),
        domain_name: CIRCLE_NAME,
        ..MAINNET
    },
    Network {
        caip2: "eip155:421614",
        chain_id: 421_614,
        usdc: Address::literal("0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"),
        domain_name: CIRCLE_NAME,
        ..TESTNET
    },
    Network {
        caip2: "eip155:143",
        chain_id: 143,
        v1_name: Some("monad"),
        usdc: Address::literal("0x754704Bc059F8C67012fEd69BC8A327a5aafb603"),
        ..MAINNET
    },
    Network {
        caip2: "eip155:42220",
        chain_id: 42_220,
        v1_name: Some("celo"),
        usdc: Address::literal("0xcebA9300f2b948710d2653dD7B07f33A8B32118C"),
        ..MAINNET
    },
    Network {
        caip2: "eip155:11142220",
        chain_id: 11_142_220,
        usdc: Address::literal("0x01C5C0122039549AD1493B8220cABEdD739BC44E"),
        ..TESTNET
    },
    Network {
        caip2: "eip155:1329",
        chain_id: 1329,
        v1_name: Some("sei"),
        v1_known: true,
        usdc: Address::literal("0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392"),
        ..MAINNET
    },
    Network {
        caip2: "eip155:1328",
        chain_id: 1328,
        v1_name: Some("sei-testnet"),
        v1_known: true,
        usdc: Address::literal("0x4fCF1784B31630811181f670Aea7A7bEF803eaED"),
        ..TESTNET
    },
    Network {
        caip2: "eip155:50",
        chain_id: 50,
        usdc: Address::literal("0xfA2958CB79b0491CC627c1557F441eF849Ca8eb1"),
        ..MAINNET
    },
];
