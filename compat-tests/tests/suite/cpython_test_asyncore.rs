//! CPython 3.11's test_asyncore.py, test by test, under the names they have there.
//!
//! Of its 101 tests 93 are here. Each class is a module. The six that derive from `BaseTestAPI` are made
//! at the end of this file, of the functions in `base_test_api`.
//!
//! What is not here, or not as it is there:
//!
//! | Test | Why |
//! |---|---|
//! | `TestAPI_UseUnixSockets…`: `test_bind`, `test_handle_expt`, `test_quick_connect`, `test_set_reuse_addr` | The eight that Python skips: Unix sockets have no ports, no out-of-band data and no connections that linger. |
//! | `test_close_twice`, first half | It closes the descriptor of a `file_wrapper` behind its back and expects `close` to notice. A descriptor belongs to its owner here: the means to close another's (`close` of rustix, `OwnedFd::from_raw_fd`) are unsafe. |
//! | `test_compact_traceback` | No name of a function: Rust keeps none with an error. |
//! | `test_repr` | The name is that of the Rust type, which cannot be `asyncore.dispatcher`. |
//! | `test_log_info` | No call without a kind: there are no default arguments. |
//! | `test_log_info`, `test_unhandled`, `test_resource_warning` | Messages go to the `log` crate, not to standard output or the warnings module. |
//! | `test_log` | Standard error is that of a process, so the channel writes in one of its own. |
//! | `test_recv` of `FileWrapperTest` | No attribute `fd`: only `fileno()` tells the number. |
//! | `test_handle_error` | A division of integers, which panics: one of floats is no error in Rust. |
//! | `test_quick_connect` | No second thread: each has a default map of its own. The connection is reset before the loop looks at it, which is what the thread is to make likely. |
//! | All | Conditions where Python sleeps. |
#![cfg(unix)]

mod base_classes;
mod base_test_api;
mod dispatcher_tests;
mod dispatcher_with_send_tests;
mod file_wrapper_test;
mod helper_function_tests;

/// A class of test_asyncore.py that derives from `BaseTestAPI`: its name, sockets and `use_poll`.
macro_rules! test_api {
    ($class:ident, Unix, $use_poll:literal) => {
        test_api! { $class, Unix, $use_poll:
            test_connection_attributes
            test_create_socket
            test_handle_accept
            test_handle_accepted
            test_handle_close
            test_handle_close_after_conn_broken
            test_handle_connect
            test_handle_error
            test_handle_read
            test_handle_write
        }
    };
    ($class:ident, $sockets:ident, $use_poll:literal) => {
        test_api! { $class, $sockets, $use_poll:
            test_bind
            test_connection_attributes
            test_create_socket
            test_handle_accept
            test_handle_accepted
            test_handle_close
            test_handle_close_after_conn_broken
            test_handle_connect
            test_handle_error
            test_handle_expt
            test_handle_read
            test_handle_write
            test_quick_connect
            test_set_reuse_addr
        }
    };
    ($class:ident, $sockets:ident, $use_poll:literal: $($test:ident)+) => {
        mod $class {
            use super::base_test_api::{self, Sockets, TestApi};

            $(
                #[test]
                fn $test() -> asyncore::Result {
                    let name = concat!(stringify!($class), "::", stringify!($test));
                    TestApi::run(name, Sockets::$sockets, $use_poll, base_test_api::$test)
                }
            )+
        }
    };
}

test_api!(test_api_use_ipv4_select, IPv4, false);
test_api!(test_api_use_ipv4_poll, IPv4, true);
test_api!(test_api_use_ipv6_select, IPv6, false);
test_api!(test_api_use_ipv6_poll, IPv6, true);
test_api!(test_api_use_unix_sockets_select, Unix, false);
test_api!(test_api_use_unix_sockets_poll, Unix, true);
