//! In which order hosts are asked for: drawn beforehand, from a fixed seed, so that every run asks the same.

const SEED: u64 = 1;

/// Hosts one behind the other, as long as one another: reading the next is a step, as a request that has just come in is
/// in the processor's caches too.
pub(crate) struct Order {
    text: String,
    host_bytes: usize,
}

impl Order {
    /// One host over and over.
    pub(crate) fn of(host: &str) -> Order {
        Order { text: host.into(), host_bytes: host.len() }
    }

    /// Each of `hosts` once, shuffled.
    pub(crate) fn shuffled(hosts: &[String]) -> Order {
        let mut places: Vec<usize> = (0..hosts.len()).collect();
        fastrand::Rng::with_seed(SEED).shuffle(&mut places);
        Order::joined(hosts, places.into_iter())
    }

    /// `draws` of `hosts`, where the n-th most wanted is asked for 1/n as often as the first.
    pub(crate) fn zipf(hosts: &[String], draws: usize) -> Order {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=hosts.len())
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        // Neighbours in rank are no neighbours in memory.
        let mut places: Vec<usize> = (0..hosts.len()).collect();
        random.shuffle(&mut places);
        let drawn = (0..draws).map(|_| {
            let mark = random.f64() * sum;
            places[sums.partition_point(|sum| *sum <= mark).min(hosts.len() - 1)]
        });
        Order::joined(hosts, drawn)
    }

    fn joined(hosts: &[String], places: impl Iterator<Item = usize>) -> Order {
        let host_bytes = hosts[0].len();
        assert!(hosts.iter().all(|host| host.len() == host_bytes), "hosts are as long as one another");
        Order { text: places.map(|place| hosts[place].as_str()).collect(), host_bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len() / self.host_bytes
    }

    /// Every host in turn, from the first.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.text.len()).step_by(self.host_bytes).map(|at| &self.text[at..at + self.host_bytes])
    }
}
