//! Reading the machine, through `sysinfo`. Amounts (bytes read, energy used) are those since the reading before.

use super::energy::{Counter, POWERCAP, counters};
use std::path::Path;
use sysinfo::{Components, DiskRefreshKind, Disks, Networks, ProcessRefreshKind, ProcessesToUpdate, System};
use thalweg_schemas::error::{Error, Result};

/// One reading: a row without its time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub metric: &'static str,
    /// Of which part: a core, a disk, an interface, a sensor, a process.
    pub label: Option<String>,
    pub pid: Option<i64>,
    pub value: f64,
    pub unit: &'static str,
}

/// The machine, and what was read of it last.
pub(super) struct Machine {
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    energy: Vec<Counter>,
    top: usize,
}

impl Machine {
    /// Reads everything once: what is counted is counted from here.
    pub(super) fn open(top: usize) -> Result<Machine> {
        let failed = |error: sysinfo::Error| Error::outside(format!("this machine cannot be observed: {error}"));
        let energy = counters(Path::new(POWERCAP));
        if energy.is_empty() {
            tracing::info!("{POWERCAP} has no energy counter that may be read; there will be no metric energy_uj");
        }
        let mut machine = Machine {
            system: System::new().map_err(failed)?,
            disks: Disks::new().map_err(failed)?,
            networks: Networks::new().map_err(failed)?,
            components: Components::new().map_err(failed)?,
            energy,
            top,
        };
        machine.refresh();
        Ok(machine)
    }

    fn refresh(&mut self) {
        self.system.refresh_memory();
        self.system.refresh_cpu_usage();
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage().with_io_usage());
        self.networks.refresh(true);
        self.components.refresh(true);
    }

    /// Everything, now.
    pub(super) fn read(&mut self) -> Vec<Reading> {
        self.refresh();
        let mut readings = Vec::new();
        self.processors(&mut readings);
        self.memory(&mut readings);
        self.storage(&mut readings);
        self.network(&mut readings);
        self.processes(&mut readings);
        for component in &self.components {
            if let Some(celsius) = component.temperature() {
                readings.push(reading("temperature", component.label(), f64::from(celsius), "celsius"));
            }
        }
        for counter in &mut self.energy {
            if let Some(used) = counter.used() {
                readings.push(reading("energy_uj", &counter.label, used as f64, "microjoules"));
            }
        }
        if let Ok(uptime) = System::uptime() {
            readings.push(whole("uptime", uptime as f64, "seconds"));
        }
        // What the system does not know is no reading.
        readings.retain(|reading| reading.value.is_finite());
        readings
    }

    fn processors(&self, readings: &mut Vec<Reading>) {
        for cpu in self.system.cpus() {
            let core = cpu.name().trim_start_matches("cpu");
            readings.push(reading("cpu_usage", core, f64::from(cpu.usage()), "percent"));
        }
        readings.push(whole("cpu_total", f64::from(self.system.global_cpu_usage()), "percent"));
        if let Ok(load) = System::load_average() {
            readings.push(whole("load1", load.one, "tasks"));
            readings.push(whole("load5", load.five, "tasks"));
            readings.push(whole("load15", load.fifteen, "tasks"));
        }
    }

    fn memory(&self, readings: &mut Vec<Reading>) {
        let system = &self.system;
        for (metric, bytes) in [
            ("memory_used", system.used_memory()),
            ("memory_total", system.total_memory()),
            ("memory_available", system.available_memory()),
            ("swap_used", system.used_swap()),
        ] {
            readings.push(whole(metric, bytes as f64, "bytes"));
        }
    }

    fn storage(&self, readings: &mut Vec<Reading>) {
        let mut devices: Vec<&std::ffi::OsStr> = Vec::new();
        for disk in &self.disks {
            // A device that is mounted at several places is one disk.
            if devices.contains(&disk.name()) {
                continue;
            }
            devices.push(disk.name());
            let place = disk.mount_point().to_string_lossy();
            let usage = disk.usage();
            for (metric, bytes) in [
                ("disk_used", disk.total_space().saturating_sub(disk.available_space())),
                ("disk_total", disk.total_space()),
                ("disk_read_bytes", usage.read_bytes),
                ("disk_written_bytes", usage.written_bytes),
            ] {
                readings.push(reading(metric, &place, bytes as f64, "bytes"));
            }
        }
    }

    fn network(&self, readings: &mut Vec<Reading>) {
        let mut interfaces: Vec<_> = self.networks.iter().collect();
        interfaces.sort_by_key(|(name, _)| *name);
        for (name, data) in interfaces {
            let name = name.to_string_lossy();
            readings.push(reading("net_rx_bytes", &name, data.received() as f64, "bytes"));
            readings.push(reading("net_tx_bytes", &name, data.transmitted() as f64, "bytes"));
        }
    }

    fn processes(&self, readings: &mut Vec<Reading>) {
        let mut processes: Vec<_> = self.system.processes().values().collect();
        processes.sort_by(|a, b| {
            let use_of = |p: &sysinfo::Process| (p.cpu_usage(), p.memory());
            let ((a_cpu, a_memory), (b_cpu, b_memory)) = (use_of(a), use_of(b));
            b_cpu.total_cmp(&a_cpu).then(b_memory.cmp(&a_memory)).then(a.pid().cmp(&b.pid()))
        });
        for process in processes.into_iter().take(self.top) {
            let name = process.name().to_string_lossy();
            let pid = Some(i64::from(process.pid().as_u32()));
            let cpu = reading("process_cpu", &name, f64::from(process.cpu_usage()), "percent");
            let memory = reading("process_memory", &name, process.memory() as f64, "bytes");
            readings.extend([Reading { pid, ..cpu }, Reading { pid, ..memory }]);
        }
    }
}

/// A reading of a part.
fn reading(metric: &'static str, label: &str, value: f64, unit: &'static str) -> Reading {
    Reading { metric, label: Some(label.to_string()), pid: None, value, unit }
}

/// A reading of the whole machine.
fn whole(metric: &'static str, value: f64, unit: &'static str) -> Reading {
    Reading { metric, label: None, pid: None, value, unit }
}
