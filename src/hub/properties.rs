//! What holds for all paths and queries, tried on thousands that nobody thought of.

use proptest::prelude::*;

use super::access::client_info::TrustedProxy;
use super::api::routes::params_of;
use super::handler::query_param;
use crate::http::Method;
use crate::proto::web::percent_encode;

proptest! {
    // What broke a property becomes a test beside the code, not a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_put_into_a_path_is_found_there(room in ".{1,20}", id in ".{1,20}") {
        let path = format!("/v1/rooms/{}/participants/{}", percent_encode(&room), percent_encode(&id));
        prop_assert_eq!(params_of(&Method::Put, &path), Some(vec![room, id]));
    }

    #[test]
    fn paths_and_queries_of_any_kind_are_looked_up(path in "/{0,2}(v1|rooms|[%a-z0-9/]{0,20})(/.{0,20}){0,4}", query in any::<String>()) {
        let _ = params_of(&Method::Get, &path);
        let _ = query_param(Some(&query), "token");
    }

    #[test]
    fn a_parameter_is_found_wherever_it_stands(before in "[a-z&=%+]{0,20}", value in any::<String>(), after in "[a-z&=%+]{0,20}") {
        let query = format!("{before}&token={}&{after}", percent_encode(&value));
        prop_assert_eq!(query_param(Some(&query), "token"), Some(value));
    }

    #[test]
    fn ranges_of_any_kind_are_read_or_refused(text in any::<String>(), v4 in any::<u32>(), bits in 0u32..=32) {
        let _ = text.parse::<TrustedProxy>();
        let address = std::net::Ipv4Addr::from_bits(v4);
        let range: TrustedProxy = format!("{address}/{bits}").parse().unwrap();
        prop_assert!(range.covers(address.into()));
    }
}
