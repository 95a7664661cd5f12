//! The cookie that keeps a client on its backend. Pure.

use redis_router::Backend;
use xxhash_rust::xxh64::xxh64;

use crate::http::request::RequestHead;

const COOKIE: &str = "cjs_backend";

/// What stands for a backend in the cookie: a hash of its URL without the options behind `#`, the same in every proxy and
/// after each restart. It does not show the address, though whoever knows the network can find it by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    pub(crate) fn of(backend: &Backend) -> Self {
        let location = backend.url.split('#').next().unwrap_or_default();
        Self(xxh64(location.as_bytes(), 0))
    }

    /// The tag in the request's cookie; `None`: it has none, or one that no proxy has set.
    pub(crate) fn in_request(request: &RequestHead) -> Option<Self> {
        request.values_of("cookie").find_map(Self::in_cookies)
    }

    /// `a=b; cjs_backend=0123456789abcdef; c=d` (RFC 6265 section 4.2.1).
    fn in_cookies(cookies: &[u8]) -> Option<Self> {
        let value = cookies
            .split(|&byte| byte == b';')
            .find_map(|cookie| cookie.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="))?;
        let is_ours = value.len() == 16 && value.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(value).ok().filter(|_| is_ours)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }

    /// The line that sets the cookie, for as long as the client's session lasts.
    pub(crate) fn set_cookie_line(self) -> String {
        format!("Set-Cookie: {COOKIE}={:016x}; Path=/; HttpOnly\r\n", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_own_cookie_among_others() {
        let tag = Tag(0x0123_4567_89ab_cdef);
        let line = tag.set_cookie_line();
        assert_eq!(line, "Set-Cookie: cjs_backend=0123456789abcdef; Path=/; HttpOnly\r\n");
        for (cookies, found) in [
            ("cjs_backend=0123456789abcdef", true),
            ("a=b; cjs_backend=0123456789ABCDEF; c=d", true),
            ("a=b;cjs_backend=0123456789abcdef", true),
            ("cjs_backend=", false),
            ("cjs_backend=xyz", false),
            ("cjs_backend=123456789abcdef", false),
            ("cjs_backend=+123456789abcdef", false),
            ("xcjs_backend=0123456789abcdef", false),
            ("", false),
        ] {
            assert_eq!(Tag::in_cookies(cookies.as_bytes()), found.then_some(tag), "{cookies}");
        }
    }
}
