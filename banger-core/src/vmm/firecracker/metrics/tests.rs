//! What is made of lines of metrics.

use super::*;

#[test]
fn what_matters_of_a_line_is_read_and_the_rest_is_not() {
    let line = br#"{"utc_timestamp_ms": 1, "api_server": {"process_startup_time_us": 3},
        "block": {"read_bytes": 10, "write_bytes": 20, "read_count": 1, "write_count": 2,
                  "read_agg": {"min_us": 1}},
        "block_disk0": {"read_bytes": 10}, "net": {"rx_bytes_count": 5},
        "vsock": {"rx_bytes_count": 7, "tx_bytes_count": 8, "conns_added": 1},
        "vcpu": {"exit_io_in": 1, "exit_io_out": 2, "exit_mmio_read": 4, "failures": 9},
        "put_api_requests": {"actions_count": 3, "actions_fails": 1, "drive_fails": 2},
        "patch_api_requests": {"drive_fails": 4}}"#;
    let expected = VmmMetrics {
        disk_read_bytes: Some(10),
        disk_written_bytes: Some(20),
        disk_reads: Some(1),
        disk_writes: Some(2),
        network_received_bytes: Some(5),
        network_sent_bytes: None,
        channel_received_bytes: Some(7),
        channel_sent_bytes: Some(8),
        exits: Some(7),
        refused_requests: Some(7),
    };
    assert_eq!(parse(line), Some(expected));
    assert_eq!(parse(b"{}"), Some(VmmMetrics::default()));
}

#[test]
fn what_is_no_line_of_metrics_counts_nothing() {
    let deep = "[".repeat(10_000);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_LIMIT));
    for line in [
        "",
        "[]",
        "{\"block\": 7}",
        "{\"vsock\": {\"rx_bytes_count\": -1}}",
        "{\"put_api_requests\": {\"actions_fails\": \"1\"}}",
        &deep,
        &long,
    ] {
        assert_eq!(parse(line.as_bytes()), None, "{line:.40}");
    }
    let most = format!(
        "{{\"vcpu\": {{\"exit_io_in\": {0}, \"exit_io_out\": {0}}}}}",
        u64::MAX
    );
    assert_eq!(parse(most.as_bytes()).unwrap().exits, Some(u64::MAX));
}

#[tokio::test]
async fn lines_are_added_up_and_one_that_is_too_long_is_passed_over() {
    let long = format!("{{\"x\":\"{}\"}}\n", "x".repeat(2 * LINE_LIMIT));
    let text = format!(
        "{{\"net\":{{\"rx_bytes_count\":1}}}}\n{long}what\n{{\"net\":{{\"rx_bytes_count\":2}}}}\n{{\"net\":"
    );
    let (sums, totals) = watch::channel(VmmMetrics::default());
    add_up(text.as_bytes(), sums).await;
    let totals = *totals.borrow();
    assert_eq!(totals.network_received_bytes, Some(3));
    assert_eq!(totals.exits, None);
}
