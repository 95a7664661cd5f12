use super::{Backend, BackendHost, Scheme};

fn good(url: &str) -> Backend {
    Backend::parse(url, 0).unwrap_or_else(|reason| panic!("{url:?}: {reason}"))
}

#[test]
fn good_urls() {
    // url, scheme, authority, path prefix
    let table: &[(&str, Scheme, &str, &str)] = &[
        ("http://10.0.0.1:8080", Scheme::Http, "10.0.0.1:8080", ""),
        ("http://10.0.0.1", Scheme::Http, "10.0.0.1:80", ""),
        ("https://10.0.0.1", Scheme::Https, "10.0.0.1:443", ""),
        ("HTTP://App.Example.TLD:81/", Scheme::Http, "app.example.tld:81", ""),
        ("app:3000", Scheme::Http, "app:3000", ""),
        ("app", Scheme::Http, "app:80", ""),
        ("my_app-1", Scheme::Http, "my_app-1:80", ""),
        ("app.", Scheme::Http, "app.:80", ""),
        ("10.0.0.1:80/a/b", Scheme::Http, "10.0.0.1:80", "/a/b"),
        ("http://h/A%20b;c=1/../d@e:f//", Scheme::Http, "h:80", "/A%20b;c=1/../d@e:f"),
        ("h/x://y", Scheme::Http, "h:80", "/x://y"),
        ("http://[::1]", Scheme::Http, "[::1]:80", ""),
        ("http://[2001:DB8::0:1]:8080/p", Scheme::Http, "[2001:db8::1]:8080", "/p"),
        ("[::1]:65535", Scheme::Http, "[::1]:65535", ""),
        ("http://h:00080", Scheme::Http, "h:80", ""),
    ];
    for (url, scheme, authority, path) in table {
        let backend = good(url);
        assert_eq!(
            (backend.scheme, &*backend.authority, &*backend.path_prefix),
            (*scheme, *authority, *path),
            "{url}"
        );
        assert_eq!(&*backend.url, *url);
    }
    assert_eq!(good("http://[::1]").host, BackendHost::Address("::1".parse().unwrap()));
    assert_eq!(good("App").host, BackendHost::Name("app".into()));
}

#[test]
fn connections_are_shared_by_those_that_are_reached_the_same_way() {
    let pool = |url| good(url).pool;
    assert_eq!(pool("http://H:443/a#weight=2"), pool("h:443"));
    assert_eq!(pool("https://h/a"), pool("https://H:443#drain"));
    assert_eq!(pool("https://h#insecure"), pool("https://h:443/b#weight=2&insecure"));
    let ways = [pool("http://h:443"), pool("https://h"), pool("https://h#insecure"), pool("https://h:444")];
    for (place, way) in ways.iter().enumerate() {
        assert!(!ways[..place].contains(way), "{way}");
    }
}

#[test]
fn options() {
    // url, weight, drain, insecure
    let table: &[(&str, u32, bool, bool)] = &[
        ("http://h", 1, false, false),
        ("http://h#", 1, false, false),
        ("http://h#weight=3", 3, false, false),
        ("http://h#drain", 1, true, false),
        ("https://h#insecure", 1, false, true),
        ("http://h#insecure", 1, false, false),
        ("https://h:1/p#weight=1000&drain,insecure", 1000, true, true),
        ("http://h#colour=red&weight=2&&", 2, false, false),
        ("http://h#anything/else?here", 1, false, false),
    ];
    for (url, weight, drain, insecure) in table {
        let backend = good(url);
        assert_eq!((backend.weight, backend.drain, backend.insecure), (*weight, *drain, *insecure), "{url}");
    }
}

#[test]
fn bad_urls() {
    let table: &[(&str, &str)] = &[
        ("", "empty"),
        ("http://", "host is missing"),
        ("http:///path", "host is missing"),
        ("//h", "host is missing"),
        (":80", "host is missing"),
        ("ftp://h", "unknown scheme"),
        ("unix:/run/app.sock", "port"),
        ("http://h:0", "port"),
        ("http://h:65536", "port"),
        ("http://h:", "port"),
        ("http://h:+80", "port"),
        ("http://h:80x", "port"),
        ("http://user@h", "user and password"),
        ("http://user:secret@h:80/", "user and password"),
        ("http://h?x=1", "query"),
        ("http://h/p?x=1", "query"),
        ("http://h/a b", "0x20"),
        (" http://h", "0x20"),
        ("http://h/\r\nX: y", "0x0d"),
        ("http://h/\n", "0x0a"),
        ("http://h\0", "0x00"),
        ("http://h/\u{7f}", "0x7f"),
        ("http://bücher.example", "0xc3"),
        ("http://h\\p", "0x5c"),
        ("http://::1", "brackets"),
        ("http://::1:80", "brackets"),
        ("http://[::1", "not closed"),
        ("http://[::1]80", "only a port"),
        ("http://[app]:80", "no host"),
        ("http://[fe80::1%25eth0]", "no host"),
        ("http://a..b", "no host"),
        ("http://a%2eb", "no host"),
        ("http://*.example", "no host"),
        ("http://300.1.1.1", "no host"),
        ("http://h#weight=0", "weight"),
        ("http://h#weight=1001", "weight"),
        ("http://h#weight=-1", "weight"),
        ("http://h#weight=+1", "weight"),
        ("http://h#weight", "weight"),
        ("http://h#drain=no", "no value"),
    ];
    for (url, expected) in table {
        let reason = Backend::parse(url, 0).expect_err(url);
        assert!(reason.contains(expected), "{url:?}: {reason}");
        assert!(reason.contains("accepted: "), "{reason}");
    }
    assert!(Backend::parse(&format!("http://h/{}", "x".repeat(3000)), 0).is_err());
    assert!(Backend::parse(&format!("http://{}/", "x".repeat(64)), 0).is_err());
}

#[test]
fn the_same_backend_as_node_prints_it() {
    let table = [
        ("http://10.0.0.1:80", "http://10.0.0.1:80/", true),
        ("http://App.tld", "http://app.tld/", true),
        ("HTTP://app.tld#weight=3", "http://app.tld/#weight=3", true),
        ("http://app.tld/Path", "http://APP.tld/Path", true),
        ("10.0.0.1:80", "10.0.0.1:80", true),
        ("10.0.0.1:80", "10.0.0.1:80/", false),
        ("http://app.tld/Path", "http://app.tld/path", false),
        ("http://app.tld", "http://app.tld:80", false),
        ("http://app.tld", "http://app.tld#weight=2", false),
        ("http://app.tld", "https://app.tld", false),
        ("http://app.tld", "", false),
    ];
    for (one, other, expected) in table {
        assert_eq!(super::is_same_url(one, other), expected, "{one} {other}");
        assert_eq!(super::is_same_url(other, one), expected, "{other} {one}");
    }
}
