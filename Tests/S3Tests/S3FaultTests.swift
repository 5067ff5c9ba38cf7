import Errors
import Foundation
import HTTP
import Persistence
import Testing
import TestSupport

/// What the store makes of a network and a server that fail, with a real server behind the proxy that does the harm.
@Suite struct S3FaultTests {
    /// A store behind a proxy of its own.
    private func setUp(
        _ change: (inout S3Configuration) -> Void = { _ in }
    ) async throws -> (store: S3Store, direct: S3Store, proxy: FaultyProxy) {
        let server = try await SeaweedFS.shared()
        let proxy = try await FaultyProxy(before: server)
        var configuration = try await makeConfiguration(on: server)
        let direct = try S3Store(configuration)
        configuration.endpoint = try S3EndpointURL(proxy.url)
        configuration.retries.firstDelay = .milliseconds(20)
        change(&configuration)
        return try (S3Store(configuration), direct, proxy)
    }

    @Test(arguments: [
        Fault(kind: "status", times: 2, status: 503, code: "SlowDown"),
        Fault(kind: "status", times: 3, status: 500, code: "InternalError"),
        Fault(kind: "status", times: 1, status: 429),
        Fault(kind: "status", times: 2, status: 409, code: "OperationAborted"),
        Fault(kind: "status", times: 2, status: 400, code: "RequestTimeout"),
        Fault(kind: "cut-request", times: 2, bytes: 0),
        Fault(kind: "cut-request", times: 2, bytes: 1_500_000),
        Fault(kind: "lose-answer", times: 2),
    ])
    func aWriteThatFailsInPassingIsTriedAgain(_ fault: Fault) async throws {
        let (store, direct, proxy) = try await setUp()
        let bytes = someBytes(3_000_000)
        try await proxy.set([fault])
        let tag = try await store.write(key("pack"), bytes, condition: .none)
        let stored = try #require(try await direct.read(key("pack")))
        #expect(stored.bytes == bytes && stored.etag == tag)
        #expect(try await proxy.log().count == (fault.times ?? 1) + 1)
        #expect(store.statistics.retries == fault.times)
    }

    @Test(arguments: [
        Fault(kind: "status", times: 2, status: 503),
        Fault(kind: "cut-response", times: 2, bytes: 100_000),
        Fault(kind: "cut-response", times: 1, bytes: 0),
    ])
    func aReadThatFailsInPassingIsTriedAgain(_ fault: Fault) async throws {
        let (store, direct, proxy) = try await setUp()
        let bytes = someBytes(500_000)
        _ = try await direct.write(key("pack"), bytes, condition: .none)
        try await proxy.set([fault])
        #expect(try await store.read(key("pack"))?.bytes == bytes)
        try await proxy.set([fault])
        #expect(try await store.read(key("pack"), range: 7..<450_000) == Array(bytes[7..<450_000]))
        #expect(store.statistics.retries == 2 * (fault.times ?? 1))
    }

    @Test func aConditionalWriteWhoseAnswerIsLostSucceeds() async throws {
        let (store, _, proxy) = try await setUp()
        try await proxy.set([Fault(kind: "lose-answer", method: "PUT")])
        let first = try await store.write(key("head"), [1, 2, 3], condition: .absent)
        #expect(try await store.info(key("head"))?.etag == first)
        try await proxy.set([Fault(kind: "lose-answer", method: "PUT", times: 2)])
        let second = try await store.write(key("head"), [4, 5], condition: .matches(first))
        #expect(try await store.read(key("head"))?.bytes == [4, 5])
        #expect(second != first)
    }

    /// A gateway in between gives up, or the server fails, after the write was done.
    @Test(arguments: [500, 502, 504]) func anErrorAfterTheWriteIsSeenThrough(_ status: Int) async throws {
        let (store, _, proxy) = try await setUp()
        try await proxy.set([Fault(kind: "belie", method: "PUT", status: status)])
        let first = try await store.write(key("head"), [1, 2, 3], condition: .absent)
        try await proxy.set([Fault(kind: "belie", method: "PUT", status: status)])
        _ = try await store.write(key("head"), [4], condition: .matches(first))
        #expect(try await store.read(key("head"))?.bytes == [4])
    }

    @Test func aConditionalWriteThatAnotherOneOvertookIsAConflict() async throws {
        let (store, direct, proxy) = try await setUp()
        let old = try await direct.write(key("head"), [0], condition: .absent)
        try await proxy.set([Fault(kind: "cut-request", method: "PUT")])
        let other = try await direct.write(key("head"), [9], condition: .matches(old))
        await expectError(.conflict) { _ = try await store.write(key("head"), [1], condition: .matches(old)) }
        #expect(try await direct.info(key("head"))?.etag == other)
        // The same bytes from another's hand are a conflict too, where each attempt of ours was answered.
        await expectError(.conflict) { _ = try await store.write(key("head"), [9], condition: .absent) }
        try await proxy.set([Fault(kind: "status", method: "PUT", status: 409, code: "ConditionalRequestConflict")])
        await expectError(.conflict) { _ = try await store.write(key("head"), [9], condition: .absent) }
    }

    /// A connection that the server closed while it was idle: libcurl would send the request again by itself, and a
    /// conditional write would meet itself.
    @Test(arguments: [[UInt8](), [7]])
    func aRepetitionOnAnIdleConnectionThatDiedIsKnown(_ bytes: [UInt8]) async throws {
        let (store, _, proxy) = try await setUp()
        try await store.check()
        try await proxy.set([Fault(kind: "lose-answer", method: "PUT")])
        _ = try await store.write(key("lock"), bytes, condition: .absent)
        #expect(try await proxy.log().filter { $0.method == "PUT" }.count == 2)
        #expect(store.statistics.requests[.write] == 2)
    }

    @Test func aTruncatedOrFlippedBodyIsNeverServed() async throws {
        let (store, direct, proxy) = try await setUp()
        let bytes = someBytes(200_000)
        _ = try await direct.write(key("record"), bytes, condition: .none)
        for fault in [
            Fault(kind: "flip", method: "GET", times: 9, bytes: 77),
            Fault(kind: "short-response", method: "GET", times: 9, bytes: 150_000),
        ] {
            try await proxy.set([fault])
            await expectError(.corrupt) { _ = try await store.read(key("record")) }
        }
        await expectError(.corrupt) { _ = try await store.read(key("record"), range: 100..<200_000) }
        try await proxy.set([
            Fault(kind: "alter", method: "GET", headers: ["Content-Range": "bytes 50-199/200000"])
        ])
        await expectError(.unsupported) { _ = try await store.read(key("record"), range: 100..<200) }
    }

    /// The bound is generous, as a machine under load stalls by itself.
    @Test func aServerThatStallsIsLeftAfterAWhile() async throws {
        let start = ContinuousClock.now
        let (patient, direct, proxy) = try await setUp { $0.timeouts.stall = .seconds(4) }
        _ = try await direct.write(key("pack"), someBytes(400_000), condition: .none)
        try await proxy.set([Fault(kind: "stall", times: 1, seconds: 90)])
        #expect(try await patient.read(key("pack"))?.bytes.count == 400_000)

        let (hasty, other, second) = try await setUp {
            $0.timeouts.stall = .seconds(4)
            $0.retries.maximumAttempts = 1
        }
        _ = try await other.write(key("pack"), someBytes(400_000), condition: .none)
        try await second.set([Fault(kind: "stall-response", times: 1, bytes: 200_000, seconds: 90)])
        let error = await expectError(.unavailable) { _ = try await hasty.read(key("pack")) }
        #expect("\(error)".contains("gave up after 1 attempt") && "\(error)".contains("too slow"), "\(error)")
        #expect(ContinuousClock.now - start < .seconds(80))
    }

    @Test func retriesEndAndTheServersWishForAPauseIsHeard() async throws {
        let (store, _, proxy) = try await setUp { $0.retries.maximumAttempts = 3 }
        try await proxy.set([Fault(kind: "status", times: 99, status: 503, code: "SlowDown")])
        let error = await expectError(.unavailable) { _ = try await store.read(key("a")) }
        #expect("\(error)".contains("SlowDown") && "\(error)".contains("3 attempts"), "\(error)")
        #expect(try await proxy.log().count == 3)
        try await proxy.set([Fault(kind: "status", status: 503, headers: ["Retry-After": "1"])])
        let start = ContinuousClock.now
        #expect(try await store.read(key("a")) == nil)
        #expect(ContinuousClock.now - start >= .seconds(1))
        try await proxy.set([Fault(kind: "status", status: 503, headers: ["Retry-After": "600"])])
        await expectError(.unavailable) { _ = try await store.read(key("a")) }
    }

    @Test func refusalsAreNotTriedAgain() async throws {
        let (store, _, proxy) = try await setUp()
        let refusals: [(Int, String, PerSSDError.Code)] = [
            (507, "InsufficientStorage", .resourceExhausted), (403, "QuotaExceeded", .resourceExhausted),
            (403, "AccessDenied", .permissionDenied), (400, "EntityTooLarge", .outOfRange),
            (501, "NotImplemented", .unsupported), (400, "InvalidRequest", .failedPrecondition),
        ]
        for (status, code, expected) in refusals {
            try await proxy.set([Fault(kind: "status", status: status, code: code)])
            let error = await expectError(expected) { _ = try await store.write(key("a"), [1], condition: .none) }
            #expect("\(error)".contains(code), "\(error)")
            #expect(try await proxy.log().count == 1)
        }
    }

    @Test func aServerThatIsNotS3IsNotTakenForAnEmptyBucket() async throws {
        let (store, _, proxy) = try await setUp()
        try await proxy.set([Fault(kind: "status", times: 9, status: 404, text: "<html>Not found</html>")])
        await expectError(.failedPrecondition) { _ = try await store.read(key("a")) }
        await expectError(.failedPrecondition) { _ = try await store.info(key("a")) }
        await expectError(.failedPrecondition) { try await store.check() }
        try await proxy.set([Fault(kind: "status", times: 9, status: 200, text: "<html>Welcome</html>")])
        await expectError(.unsupported) { try await store.check() }
    }

    @Test func theRegionToUseIsNamed() async throws {
        let (store, _, proxy) = try await setUp()
        let text =
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-3</Region></Error>"
        try await proxy.set([Fault(kind: "status", status: 400, text: text)])
        let first = await expectError(.failedPrecondition) { try await store.check() }
        #expect("\(first)".contains("is in the region 'eu-west-3'"), "\(first)")
        try await proxy.set([Fault(kind: "status", status: 301, headers: ["x-amz-bucket-region": "eu-west-4"])])
        let second = await expectError(.failedPrecondition) { try await store.check() }
        #expect("\(second)".contains("is in the region 'eu-west-4'"), "\(second)")
    }

    @Test func aClockThatIsWrongIsPutRightOnce() async throws {
        let (store, _, proxy) = try await setUp()
        let date = "Fri, 24 May 2013 00:00:00 GMT"
        try await proxy.set([
            Fault(kind: "status", times: 9, status: 403, code: "RequestTimeTooSkewed", headers: ["Date": date])
        ])
        await expectError(.failedPrecondition) { _ = try await store.read(key("a")) }
        let times = try await proxy.log().map { $0.headers["x-amz-date"] ?? "" }
        #expect(times.count == 2 && times[1].hasPrefix("20130524T0000"), "\(times)")
        // The real server, whose clock is right, refuses the time that was learnt; its own date cures that.
        try await proxy.set([])
        #expect(try await store.read(key("a")) == nil)
        #expect(try await proxy.log().count == 2)
    }

    @Test func cancellationEndsARequestAtOnce() async throws {
        let (store, _, proxy) = try await setUp()
        for faults in [
            [Fault(kind: "stall", times: 9, seconds: 60)],
            [Fault(kind: "status", times: 9, status: 503, headers: ["Retry-After": "60"])],
        ] {
            try await proxy.set(faults)
            let task = Task { try await store.read(key("a")) }
            try await Task.sleep(for: .milliseconds(300))
            let start = ContinuousClock.now
            task.cancel()
            await expectError(.cancelled) { _ = try await task.value }
            #expect(ContinuousClock.now - start < .seconds(20))
        }
    }

    @Test func aServerThatComparesBareTagsIsFoundOut() async throws {
        let (store, _, proxy) = try await setUp()
        try await proxy.set([Fault(kind: "bare-tags", method: "PUT", times: 99)])
        let first = try await store.write(key("head"), [1], condition: .absent)
        let second = try await store.write(key("head"), [2], condition: .matches(first))
        try await proxy.set([Fault(kind: "bare-tags", method: "PUT", times: 99)])
        await expectError(.conflict) { _ = try await store.write(key("head"), [3], condition: .matches(first)) }
        _ = try await store.write(key("head"), [4], condition: .matches(second))
        #expect(try await proxy.log().map { $0.headers["if-match"] ?? "" } == [first.rawValue, second.rawValue])
    }
}
