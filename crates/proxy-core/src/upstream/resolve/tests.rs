//! The resolver without its threads: questions come out of a channel, and the test answers them.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::task::Context;

use super::*;

type Addresses = Result<Arc<[IpAddr]>, String>;

struct Scene {
    resolver: Resolver,
    questions: Receiver<Question>,
}

impl Scene {
    fn new() -> Self {
        let (ask, questions) = sync_channel(4);
        Self { resolver: Resolver::new(ask, Arc::new(|_| {})), questions }
    }

    /// What is known of a name at once; `None`: it is waited for.
    fn ask(&self, name: &str) -> Option<Addresses> {
        let mut asking = pin!(self.resolver.addresses(name));
        match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(addresses) => Some(addresses),
            Poll::Pending => None,
        }
    }

    fn known(&self, name: &str) -> Vec<String> {
        let addresses = self.ask(name).expect("known at once").expect("known");
        addresses.iter().map(ToString::to_string).collect()
    }

    /// The name asked for next.
    fn question(&self) -> Option<String> {
        self.questions.try_recv().ok().map(|question| question.name.to_string())
    }

    fn answer(&self, name: &str, addresses: &[&str]) {
        let addresses = Ok(addresses.iter().map(|address| address.parse().unwrap()).collect());
        self.resolver.learn(Resolved { name: name.into(), addresses });
    }

    fn fail(&self, name: &str) {
        self.resolver.learn(Resolved { name: name.into(), addresses: Err("no such name".into()) });
    }
}

#[test]
fn a_new_name_is_asked_for_once_and_waited_for() {
    let scene = Scene::new();
    let mut first = pin!(scene.resolver.addresses("a"));
    let mut second = pin!(scene.resolver.addresses("a"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!((scene.question().as_deref(), scene.question()), (Some("a"), None));
    scene.answer("a", &["10.0.0.1", "::1"]);
    for waiting in [first, second] {
        let mut waiting = waiting;
        let Poll::Ready(Ok(addresses)) = waiting.as_mut().poll(&mut context) else { panic!("not answered") };
        assert_eq!(addresses.len(), 2);
    }
    assert_eq!(scene.known("a"), ["10.0.0.1", "::1"]);
    assert_eq!(scene.question(), None);
}

#[test]
fn what_is_old_serves_while_it_is_asked_for_again() {
    let scene = Scene::new();
    scene.ask("a");
    scene.answer("a", &["10.0.0.1"]);
    scene.question();
    scene.resolver.tick(RESOLVED_SECONDS - 1);
    assert_eq!((scene.known("a"), scene.question()), (vec!["10.0.0.1".into()], None));
    scene.resolver.tick(RESOLVED_SECONDS);
    for _ in 0..3 {
        assert_eq!(scene.known("a"), ["10.0.0.1"], "nobody waits");
    }
    assert_eq!((scene.question().as_deref(), scene.question()), (Some("a"), None), "one question");
    scene.answer("a", &["10.0.0.2"]);
    assert_eq!(scene.known("a"), ["10.0.0.2"]);
    scene.resolver.tick(2 * RESOLVED_SECONDS - 1);
    assert_eq!((scene.known("a"), scene.question()), (vec!["10.0.0.2".into()], None), "its age begins anew");
}

#[test]
fn addresses_that_led_nowhere_are_asked_for_again() {
    let scene = Scene::new();
    scene.ask("a");
    scene.answer("a", &["10.0.0.1"]);
    scene.question();
    scene.resolver.doubt("a");
    assert_eq!(scene.question(), None, "it was just told");
    scene.resolver.tick(1);
    scene.resolver.doubt("a");
    scene.resolver.doubt("a");
    assert_eq!((scene.question().as_deref(), scene.question()), (Some("a"), None));
    assert_eq!(scene.known("a"), ["10.0.0.1"]);
    scene.answer("a", &["10.0.0.2"]);
    assert_eq!(scene.known("a"), ["10.0.0.2"]);
    scene.resolver.doubt("nobody asked for it");
    assert_eq!(scene.question(), None);
}

#[test]
fn a_name_server_that_fails_takes_nothing_away() {
    let scene = Scene::new();
    scene.ask("a");
    scene.answer("a", &["10.0.0.1"]);
    scene.question();
    for round in 1..4 {
        scene.resolver.tick(round * RESOLVED_SECONDS);
        assert_eq!(scene.known("a"), ["10.0.0.1"]);
        assert_eq!(scene.question().as_deref(), Some("a"));
        scene.fail("a");
    }
    assert_eq!(scene.known("a"), ["10.0.0.1"]);
    scene.answer("a", &["10.0.0.2"]);
    assert_eq!(scene.known("a"), ["10.0.0.2"]);
}

#[test]
fn a_name_that_was_never_known_is_told_of_and_asked_for_anew() {
    let scene = Scene::new();
    let mut asking = pin!(scene.resolver.addresses("a"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(asking.as_mut().poll(&mut context).is_pending());
    scene.question();
    scene.fail("a");
    let Poll::Ready(Err(why)) = asking.as_mut().poll(&mut context) else { panic!("not told") };
    assert_eq!(why, "no such name");
    assert!(scene.ask("a").is_none(), "it is waited for again");
    assert_eq!(scene.question().as_deref(), Some("a"));
    scene.answer("a", &["10.0.0.1"]);
    assert_eq!(scene.known("a"), ["10.0.0.1"]);
}

#[test]
fn too_many_questions_are_an_error_and_known_names_are_not() {
    let scene = Scene::new();
    scene.ask("known");
    scene.answer("known", &["10.0.0.1"]);
    scene.question();
    for name in ["a", "b", "c", "d"] {
        assert!(scene.ask(name).is_none());
    }
    assert_eq!(scene.ask("e").unwrap().unwrap_err(), "too many names wait to be resolved");
    scene.resolver.tick(RESOLVED_SECONDS);
    assert_eq!(scene.known("known"), ["10.0.0.1"]);
    let Scene { resolver, questions } = scene;
    drop(questions);
    let scene = Scene { resolver, questions: sync_channel(0).1 };
    assert_eq!(scene.ask("f").unwrap().unwrap_err(), "the resolver has ended");
}

#[test]
fn names_that_nobody_uses_make_room() {
    let scene = Scene::new();
    for number in 0..NAMES_PER_CORE {
        scene.resolver.entry(&number.to_string()).unwrap();
    }
    assert_eq!(scene.ask("one more").unwrap().unwrap_err(), "too many backend names");
    scene.resolver.tick(2 * RESOLVED_SECONDS);
    assert!(scene.ask("one more").is_none());
}

#[test]
fn the_threads_name_each_address_once() {
    let addresses = look_up("localhost").unwrap();
    assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty(), "{addresses:?}");
    for (place, address) in addresses.iter().enumerate() {
        assert!(!addresses[..place].contains(address));
    }
    assert!(look_up("no name at all").is_err());
    let (ask, questions) = sync_channel(1);
    let (tell, told) = sync_channel(1);
    ask.send(Question {
        name: "127.0.0.1".into(),
        answer: Arc::new(move |resolved| tell.send(resolved).unwrap()),
    })
    .unwrap();
    drop(ask);
    answer_questions(&Mutex::new(questions));
    assert_eq!(*told.recv().unwrap().addresses.unwrap(), [IpAddr::from([127, 0, 0, 1])]);
}
