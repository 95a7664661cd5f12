//! Writing a table into Redis: all of it is compared first, then each host that differs is replaced in a transaction.

use std::collections::BTreeSet;

use redis::{Cmd, Value, cmd};

use crate::bounds::EDIT_BATCH;
use crate::edit::Counts;
use crate::edit::failure::Failure;
use crate::edit::held::{Held, HeldTable};

use super::Session;
use super::change::{HostKeys, forget_marks};

/// One host's transaction.
struct Write {
    key: String,
    commands: Vec<Cmd>,
}

impl Session {
    pub(crate) fn import(&mut self, table: &HeldTable, prune: bool) -> Result<Counts, Failure> {
        let (mut counts, mut writes) = (Counts::default(), Vec::new());
        for batch in table.hosts.chunks(EDIT_BATCH) {
            let hosts: Vec<String> = batch.iter().map(|(host, _)| host.clone()).collect();
            for ((host, new), (list, hash)) in batch.iter().zip(self.read_batch(&hosts)?) {
                let keys = self.keys_of(host);
                let old = Held {
                    list: self.the_list(Some(list), &keys.list)?,
                    options: self.read_hash(hash, &keys.options)?.unwrap_or_default().into_iter().collect(),
                };
                let commands = replacement(&keys, &old, new);
                match (commands.is_empty(), old == Held::default()) {
                    (true, _) => counts.unchanged += 1,
                    (false, true) => counts.added += 1,
                    (false, false) => counts.changed += 1,
                }
                writes.push(Write { key: keys.list, commands });
            }
        }
        if prune {
            counts.removed = self.surplus(table, &mut writes)?;
        }
        writes.retain(|write| !write.commands.is_empty());
        self.write_all(&writes)?;
        Ok(counts)
    }

    /// Adds what takes away all that `table` does not hold; returns the number of hosts.
    fn surplus(&mut self, table: &HeldTable, writes: &mut Vec<Write>) -> Result<usize, Failure> {
        let (lists, options) = (self.prefixes.lists.clone(), self.prefixes.options.clone());
        let named = |host: &[u8]| str::from_utf8(host).ok().and_then(|host| table.get(host));
        let mut gone = BTreeSet::new();
        for host in self.scan(&lists)? {
            if named(&host).is_some_and(|held| !held.list.is_empty()) {
                continue;
            }
            let mut delete = cmd("DEL");
            for prefix in [&lists, &self.prefixes.dead, &self.prefixes.reports] {
                delete.arg([prefix.as_bytes(), &host].concat());
            }
            writes.push(Write { key: lists.clone(), commands: vec![delete] });
            gone.insert(host);
        }
        for host in self.scan(&options)? {
            // Those of a host that has a list in the table are replaced with it.
            if named(&host).is_none() {
                let delete = cmd("DEL").arg([options.as_bytes(), &host].concat()).take();
                writes.push(Write { key: options.clone(), commands: vec![delete] });
                gone.insert(host);
            }
        }
        Ok(gone.len())
    }

    fn write_all(&mut self, writes: &[Write]) -> Result<(), Failure> {
        for (place, batch) in writes.chunks(EDIT_BATCH).enumerate() {
            let mut all = Vec::new();
            for write in batch {
                all.push(cmd("MULTI"));
                all.extend(write.commands.iter().cloned());
                all.push(cmd("EXEC"));
            }
            let replies = self.call(&all)?;
            let mut rest: &[Value] = &replies;
            for (number, write) in batch.iter().enumerate() {
                let (own, others) = rest.split_at(write.commands.len() + 2);
                rest = others;
                let written = self.read_transaction(own, &write.key);
                written.map_err(|failure| partly(failure, place * EDIT_BATCH + number))?;
            }
        }
        Ok(())
    }
}

/// Says how much had been written before.
fn partly(failure: Failure, hosts: usize) -> Failure {
    match failure {
        Failure::Redis { server, problem } => {
            Failure::Redis { server, problem: format!("{problem}; {hosts} hosts were written before that") }
        }
        failure => failure,
    }
}

/// What makes `new` of `old`; empty: nothing.
fn replacement(keys: &HostKeys, old: &Held, new: &Held) -> Vec<Cmd> {
    let mut commands = Vec::new();
    // A host of which only options are named keeps its list.
    if !new.list.is_empty() && new.list != old.list {
        commands.push(cmd("DEL").arg(&keys.list).take());
        commands.push(cmd("RPUSH").arg(&keys.list).arg(&new.list).take());
        let (before, now) = (old.list.get(1..).unwrap_or_default(), &new.list[1..]);
        if !now.starts_with(before) {
            commands.push(cmd("DEL").arg(&keys.dead).arg(&keys.died).take());
        } else if before.len() < now.len() {
            commands.extend(forget_marks(keys, before.len()..now.len()));
        }
    }
    if new.options != old.options {
        commands.push(cmd("DEL").arg(&keys.options).take());
        if !new.options.is_empty() {
            let fields: Vec<(&Vec<u8>, &Vec<u8>)> = new.options.iter().collect();
            commands.push(cmd("HSET").arg(&keys.options).arg(fields).take());
        }
    }
    commands
}
