//! What every driver promises, each claim checked with both of them.

mod disk;
mod harness;
mod sockets;

use std::io;

use super::Settings;
use super::epoll::Epoll;
#[cfg(target_os = "linux")]
use super::uring::{Uring, probe};

/// How a test makes its driver.
type Make<D> = fn(Settings) -> io::Result<D>;

/// Whether the ring can be tested here.
#[cfg(target_os = "linux")]
fn has_uring() -> bool {
    match probe() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("not tested: {reason}");
            false
        }
    }
}

macro_rules! claims {
    ($($module:ident :: $name:ident,)*) => {
        mod with_epoll {
            $(
                #[test]
                fn $name() {
                    super::$module::$name(super::Epoll::new);
                }
            )*
        }

        #[cfg(target_os = "linux")]
        mod with_uring {
            $(
                #[test]
                fn $name() {
                    if super::has_uring() {
                        super::$module::$name(super::Uring::new);
                    }
                }
            )*
        }

        /// As on an old kernel.
        #[cfg(target_os = "linux")]
        mod with_plain_uring {
            $(
                #[test]
                fn $name() {
                    if super::has_uring() {
                        super::$module::$name(super::Uring::plain);
                    }
                }
            )*
        }
    };
}

claims! {
    sockets::echoes_small_and_large_data_both_ways,
    sockets::echoes_over_unix_sockets,
    sockets::gathers_events,
    sockets::serves_many_connections,
    sockets::takes_more_connections_than_a_ring_has_entries,
    sockets::sends_what_is_left_after_a_half_close,
    sockets::reports_a_reset_once,
    sockets::reports_a_failed_send_once_and_returns_the_output,
    sockets::outlasts_a_slow_reader_and_serves_others_meanwhile,
    sockets::closes_once_while_sending,
    sockets::closes_once_while_receiving,
    sockets::closes_once_when_nothing_is_under_way,
    sockets::uses_a_place_again_after_it_closed,
    sockets::pause_stops_delivery_and_resume_restarts_it,
    sockets::pause_and_resume_at_once_lose_nothing,
    sockets::sends_ropes_in_order,
    sockets::sends_an_empty_output,
    sockets::accepts_on_two_listeners_until_unlistened,
    sockets::listens_again_under_the_same_name_at_once,
    sockets::recovers_from_having_no_buffers,
    sockets::wakes_from_another_thread,
    sockets::one_driver_wakes_another,
    sockets::returns_without_events_after_the_timeout,
    sockets::drops_while_busy,
    disk::writes_with_and_without_sync,
    disk::writes_more_than_a_ring_has_entries,
    disk::reports_a_failed_write_once,
    disk::finishes_writes_before_it_is_gone,
    disk::reads_what_there_is,
}
