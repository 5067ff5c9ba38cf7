import ArgumentParser
import Foundation
import KillTestSupport
import LinuxSystem
import LocalVolumes
import SystemPackage

/// What a pool has promised to keep of a copy, in the small: of its contents, the first byte.
struct CopyState: Equatable, CustomStringConvertible {
    var epoch: UInt64 = 1
    var sizeMebibytes: UInt64 = 4
    var byte: UInt8 = 0
    /// The first byte of the cut that waits.
    var cutByte: UInt8?

    func record(_ volume: String) -> CopyRecord {
        CopyRecord(
            volume: volume, incarnation: "i", lineage: "l", epoch: epoch, generation: 0, state: .dirty,
            sizeBytes: sizeMebibytes << 20, lastUsed: 0)
    }

    init() {}

    /// As a start finds it.
    init(of copy: LocalCopy, in pool: any VolumePool) async throws {
        epoch = copy.record.epoch
        sizeMebibytes = copy.record.sizeBytes >> 20
        byte = try Self.firstByte(of: try await pool.attach(copy.record.volume))
        cutByte = try await pool.pendingCut(copy.record.volume).map { try Self.firstByte(of: $0.path) }
    }

    private static func firstByte(of path: FilePath) throws -> UInt8 {
        let file = try OpenFile(path, O_RDONLY)
        var byte: UInt8 = 0
        _ = try withUnsafeMutableBytes(of: &byte) { try file.read(at: 0, into: $0) }
        return byte
    }

    var description: String {
        "epoch=\(epoch),size=\(sizeMebibytes),byte=\(byte),cut=\(cutByte.map(String.init) ?? "-")"
    }
}

/// Takes one step after another until it is killed, and says before and after each what the copy is then.
struct WorkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "work")

    @OptionGroup var options: PoolOptions

    func run() async throws {
        let pool = try await options.open()
        var states: [String: CopyState] = [:]
        for copy in try await pool.recover() {
            states[copy.record.volume] = try await CopyState(of: copy, in: pool)
        }
        say("ready")
        while true {
            let volume = ["a", "b"].randomElement()!
            let state = states[volume]
            var next = state
            let work = Self.step(volume, &next, cuts: pool.cutsAreInstant)
            say("try \(volume) \(next?.description ?? Transcript.absent)")
            try await work(pool)
            say("ok \(volume) \(next?.description ?? Transcript.absent)")
            states[volume] = next
        }
    }

    /// Chooses what to do, and says what the copy is afterwards.
    ///
    /// - Parameter cuts: whether there are cuts beside the copy, which outlive a kill.
    private static func step(
        _ volume: String, _ state: inout CopyState?, cuts: Bool
    ) -> @Sendable (any VolumePool) async throws -> Void {
        guard var next = state else {
            let new = CopyState()
            state = new
            return { _ = try await $0.create(new.record(volume)) }
        }
        if next.epoch > 2, Int.random(in: 0..<8) == 0 {
            state = nil
            return { try await $0.remove(volume) }
        }
        defer { state = next }
        switch Int.random(in: 0..<6) {
        case 0 where next.sizeMebibytes < 64:
            next.sizeMebibytes += 4
            let size = next.sizeMebibytes << 20
            return { try await $0.resize(volume, toBytes: size) }
        case 1 where cuts && next.cutByte == nil:
            next.cutByte = next.byte
            return { _ = try await $0.cut(volume) }
        case 2 where next.cutByte != nil:
            next.cutByte = nil
            return { pool in
                guard let cut = try await pool.pendingCut(volume) else { throw Failure(description: "no cut") }
                try await pool.keep(cut, asBaseFor: UInt64.random(in: 1...UInt64.max))
            }
        case 3 where next.cutByte != nil:
            next.cutByte = nil
            return { pool in
                guard let cut = try await pool.pendingCut(volume) else { throw Failure(description: "no cut") }
                try await pool.discard(cut)
            }
        case 4:
            next.byte &+= 1
            let byte = next.byte
            return { pool in try DeviceBytes.write(byte, 0..<4096, to: try await pool.attach(volume)) }
        default:
            next.epoch += 1
            let record = next.record(volume)
            return { try await $0.save(record) }
        }
    }
}

/// Kills a process that works on the pool, again and again, and looks whether all it was told to be done is there.
struct KillsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "kills")

    @OptionGroup var options: PoolOptions
    @Option(help: "How often.")
    var rounds = 5
    @Option(help: "How long a process may work at the most, in milliseconds.")
    var longest = 8000

    func run() async throws {
        var steps = 0
        var known = try await observe()
        for round in 1...rounds {
            let transcript = try work()
            steps += transcript.steps
            let possible = transcript.possible(from: known)
            known = try await observe()
            for volume in Set(possible.keys).union(known.keys) {
                let found = known[volume] ?? Transcript.absent
                try require(
                    (possible[volume] ?? [Transcript.absent]).contains(found),
                    "round \(round): \(volume) is \(found), and not one of \(possible[volume] ?? [])")
            }
        }
        try require(steps >= rounds, "only \(steps) steps were done: nothing was tested")
        let pool = try await options.open()
        for copy in try await pool.recover() { try await pool.remove(copy.record.volume) }
        say("kills passed: \(rounds) kills in \(steps) steps")
    }

    /// What a start finds.
    private func observe() async throws -> [String: String] {
        let pool = try await options.open()
        var found: [String: String] = [:]
        for copy in try await pool.recover() {
            found[copy.record.volume] = try await CopyState(of: copy, in: pool).description
        }
        return found
    }

    private func work() throws -> Transcript {
        let process = Process()
        process.executableURL = URL(
            fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.arguments = ["work"] + options.arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        var output = pipe.fileHandleForReading.availableData
        usleep(UInt32.random(in: 50_000...UInt32(longest) * 1000))
        try require(process.isRunning, "the process ended by itself")
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        output += (try pipe.fileHandleForReading.readToEnd()) ?? Data()
        return Transcript(output)
    }
}
