// Says what it finds, then takes each step once, and is killed at the call NUMBER that changes a file:
//     local-volumes-crash-helper sequence DIRECTORY NUMBER
// Works on a pool at random until it is killed:          local-volumes-crash-helper work DIRECTORY SEED
// Recovers the pool and prints what it finds, then ends: local-volumes-crash-helper observe DIRECTORY
// Freezes a mounted file system until it is killed:      local-volumes-crash-helper freeze DIRECTORY
//
// Before each step it prints "try VOLUME STATE", and "ok VOLUME STATE" once the pool has said that the step is done.

import KillAtCall
import LinuxSystem
import LocalVolumes
import Logging
import SystemPackage

let arguments = CommandLine.arguments
if arguments[1] == "freeze" {
    let freeze = try Freeze(FilePath(arguments[2]), limit: .seconds(60))
    say("frozen")
    try await Task.sleep(for: .seconds(60))
    try freeze.thaw()
}
let pool = try await ImagePool.open(
    name: "crash", directory: FilePath(arguments[2]), options: .init(size: 1 << 30, reserve: 0),
    logger: Logger(label: "helper") { StreamLogHandler.standardError(label: $0) })
let copies = try await pool.recover()

if arguments[1] != "work" {
    for copy in copies {
        let state = try await CopyState(of: copy, in: pool, at: FilePath(arguments[2]))
        say("copy \(copy.record.volume) \(state) \(copy.device?.string ?? "-")")
    }
    for damaged in pool.damagedCopies { say("damaged \(damaged.volume) \(damaged.error)") }
    if arguments[1] == "sequence" {
        try await pool.remove("v")
        say("ready")
        var worker = Worker(pool: pool, seed: 0)
        kill_at_call(Int(arguments[3])!)
        try await worker.sequence("v")
    }
} else {
    var worker = Worker(pool: pool, seed: UInt64(arguments[3])!)
    for copy in copies {
        worker.states[copy.record.volume] = try await CopyState(of: copy, in: pool, at: FilePath(arguments[2]))
    }
    say("ready")
    while true { try await worker.step() }
}
