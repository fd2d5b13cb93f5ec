//! The headers of a record that somebody has read.

use std::panic::catch_unwind;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header, Headers as _};

/// The headers of a record, in order, but for those whose names are no UTF-8: rdkafka panics at them (0.39, in
/// `BorrowedHeaders::try_get`) and has no other way to them. One such header must not hide the record, nor those behind
/// it. The panic's own line on standard error stays.
#[must_use]
pub fn readable_headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<Header<'a, &'a [u8]>> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let header = |index| catch_unwind(|| headers.try_get(index)).ok().flatten();
    (0..headers.count()).filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::mocking::MockCluster;
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    use super::*;

    /// A record `v` with the headers `\xff` and `own`, as the one of a batch. Lengths below 64 are one byte, doubled.
    const RECORD: &[u8] = b"\x28\0\0\0\x01\x02v\x04\x02\xff\x02x\x06own\x08kept";

    /// Puts the record on a topic, in the bytes of Kafka's protocol: rdkafka's producer takes no such name.
    fn produce(broker: &str, topic: &str) {
        let mut batch = Vec::new();
        // Leader's epoch, format, checksum (which nobody checks), attributes, offset of the last, two times.
        batch.extend(b"\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0");
        batch.extend([0; 16]);
        // No producer's id, epoch and sequence; one record.
        batch.extend([255; 14]);
        batch.extend(b"\0\0\0\x01");
        batch.extend(RECORD);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let records = [[0; 8].as_slice(), &length(&batch), &batch].concat();
        // Produce, version 3, a number, no client's name; no transaction, all acknowledge, within a second; one topic.
        let mut request = b"\0\0\0\x03\0\0\0\x07\xff\xff\xff\xff\xff\xff\0\0\x03\xe8\0\0\0\x01\0".to_vec();
        request.push(topic.len().try_into().unwrap());
        request.extend(topic.as_bytes());
        // One partition, the first.
        request.extend(b"\0\0\0\x01\0\0\0\0");
        request.extend(length(&records));
        request.extend(records);
        let mut stream = TcpStream::connect(broker).unwrap();
        stream.write_all(&[length(&request).as_slice(), &request].concat()).unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
    }

    #[test]
    fn an_unreadable_name_hides_nothing_else() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("odd", 1, 1).unwrap();
        let broker = cluster.bootstrap_servers();
        produce(&broker, "odd");
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &broker).set("group.id", "reader").create().unwrap();
        let mut start = TopicPartitionList::new();
        start.add_partition_offset("odd", 0, Offset::Beginning).unwrap();
        consumer.assign(&start).unwrap();
        let message = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!((message.payload(), message.headers().unwrap().count()), (Some(b"v".as_slice()), 2));
        let readable = readable_headers(&message);
        let readable: Vec<_> = readable.iter().map(|header| (header.key, header.value)).collect();
        assert_eq!(readable, [("own", Some(b"kept".as_slice()))]);
    }
}
