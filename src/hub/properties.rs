//! Property tests: path parameters, query parameters and proxy ranges, on generated input.

use proptest::prelude::*;

use super::access::client_info::TrustedProxy;
use super::api::routes::params_of;
use super::handler::query_param;
use crate::http::Method;
use crate::proto::web::percent_encode;

proptest! {
    // A failing input becomes a unit test beside the code, so failing seeds are not stored.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn path_parameters_survive_encoding(room in ".{1,20}", id in ".{1,20}") {
        let path = format!("/v1/rooms/{}/participants/{}", percent_encode(&room), percent_encode(&id));
        prop_assert_eq!(params_of(&Method::Put, &path), Some(vec![room, id]));
    }

    #[test]
    fn any_path_and_query_is_handled(path in "/{0,2}(v1|rooms|[%a-z0-9/]{0,20})(/.{0,20}){0,4}", query in any::<String>()) {
        let _ = params_of(&Method::Get, &path);
        let _ = query_param(Some(&query), "token");
    }

    #[test]
    fn a_query_parameter_is_found_at_any_position(before in "[a-z&=%+]{0,20}", value in any::<String>(), after in "[a-z&=%+]{0,20}") {
        let query = format!("{before}&token={}&{after}", percent_encode(&value));
        prop_assert_eq!(query_param(Some(&query), "token"), Some(value));
    }

    #[test]
    fn any_text_is_a_proxy_range_or_rejected(text in any::<String>(), v4 in any::<u32>(), bits in 0u32..=32) {
        let _ = text.parse::<TrustedProxy>();
        let address = std::net::Ipv4Addr::from_bits(v4);
        let range: TrustedProxy = format!("{address}/{bits}").parse().unwrap();
        prop_assert!(range.covers(address.into()));
    }
}
