//! Where an agent says that it is, and what proves it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::TokenStore;

use super::{
    agent::{Client, client_tls},
    house::{House, eventually, within},
};
use crate::app::Outcome;

/// Keeps the first token that comes, and shows it each time.
#[derive(Default)]
struct Copied(Mutex<Option<Bytes>>);

impl TokenStore for Copied {
    fn insert(&self, _server_name: &str, token: Bytes) {
        self.0.lock().unwrap().get_or_insert(token);
    }

    fn take(&self, _server_name: &str) -> Option<Bytes> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn an_address_is_asked_for_a_proof_unless_a_token_is_one_which_is_good_once() {
    let house = House::new();
    let running = house.start().await;
    let tls = || client_tls(&house, &house.agent("acme", 1));
    let asked = || running.counters.addresses_asked.value();
    let tokens = Arc::new(Copied::default());
    let client = Client::new(tls()).with_tokens(Arc::clone(&tokens) as _);
    let first = within(client.dial(&running)).await.unwrap();
    eventually("a token", || first.stats().frame_rx.new_token == 1).await;
    assert_eq!(asked(), 1);
    let _second = within(client.dial(&running)).await.unwrap();
    assert_eq!(asked(), 1, "the token proves it");
    let _third = within(client.dial(&running)).await.unwrap();
    assert_eq!(asked(), 2, "it was used");
    let made_up = Copied(Mutex::new(Some(Bytes::from_static(&[7; 60]))));
    let stranger = Client::new(tls()).with_tokens(Arc::new(made_up));
    let _fourth = within(stranger.dial(&running)).await.unwrap();
    assert_eq!(asked(), 3, "nobody gave it");
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);
}
