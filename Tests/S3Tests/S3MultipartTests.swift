import Errors
import Foundation
import Persistence
import Testing
import TestSupport

@Suite struct S3MultipartTests {
    private func inParts(_ configuration: inout S3Configuration) {
        (configuration.partSize, configuration.multipartThreshold) = (5 << 20, 5 << 20)
        configuration.retries.firstDelay = .milliseconds(20)
    }

    @Test func aLongBodyIsSentInParts() async throws {
        let store = try await makeStore(on: SeaweedFS.shared(), inParts)
        let bytes = someBytes((21 << 20) + 12345)
        let tag = try await store.write(key("big"), bytes, condition: .none)
        #expect(store.statistics.requests == [.multipart: 2, .write: 5, .info: 1])
        let stored = try #require(try await store.read(key("big")))
        #expect(stored.bytes == bytes && stored.etag == tag)
        let middle = UInt64(5 << 20) - 10..<UInt64(10 << 20) + 10
        #expect(
            try await store.read(key("big"), range: middle)
                == Array(bytes[Int(middle.lowerBound)..<Int(middle.upperBound)]))
    }

    @Test func aLongBodyWithAConditionIsSentWhole() async throws {
        let store = try await makeStore(on: SeaweedFS.shared(), inParts)
        let bytes = someBytes(12 << 20)
        let tag = try await store.write(key("big"), bytes, condition: .absent)
        await expectError(.conflict) { _ = try await store.write(key("big"), bytes + [0], condition: .absent) }
        _ = try await store.write(key("big"), bytes + [1], condition: .matches(tag))
        #expect(store.statistics.requests[.multipart] == nil)
        #expect(try await store.info(key("big"))?.size == UInt64(bytes.count + 1))
    }

    @Test(arguments: [
        Fault(kind: "status", method: "PUT", contains: "partNumber=2", times: 2, status: 503),
        Fault(kind: "cut-request", method: "PUT", contains: "partNumber=1", bytes: 1 << 20),
        Fault(kind: "status", method: "POST", contains: "uploads", status: 500),
        // An error in an answer with status 200.
        Fault(kind: "status", method: "POST", contains: "uploadId=", status: 200, code: "InternalError"),
        Fault(kind: "lose-answer", method: "POST", contains: "uploadId="),
    ])
    func failuresInPassingAreCured(_ fault: Fault) async throws {
        let server = try await SeaweedFS.shared()
        let proxy = try await FaultyProxy(before: server)
        let store = try await makeStore(on: server, endpoint: proxy.url, inParts)
        let bytes = someBytes(12 << 20)
        try await proxy.set([fault])
        let tag = try await store.write(key("big"), bytes, condition: .none)
        let stored = try #require(try await store.read(key("big")))
        #expect(stored.bytes == bytes && stored.etag == tag)
    }

    @Test func anUploadThatFailsOrIsCancelledIsTakenBack() async throws {
        let server = try await SeaweedFS.shared()
        let proxy = try await FaultyProxy(before: server)
        let store = try await makeStore(on: server, endpoint: proxy.url, inParts)
        let bytes = someBytes(12 << 20)
        try await proxy.set([
            Fault(
                kind: "status", method: "PUT", contains: "partNumber=2", times: 99, status: 507, code: "QuotaExceeded")
        ])
        await expectError(.resourceExhausted) { _ = try await store.write(key("big"), bytes, condition: .none) }
        #expect(try await proxy.log().last?.method == "DELETE")
        try await proxy.set([Fault(kind: "stall", method: "PUT", contains: "partNumber=3", times: 99, seconds: 30)])
        let task = Task { try await store.write(key("big"), bytes, condition: .none) }
        try await Task.sleep(for: .seconds(1))
        task.cancel()
        await expectError(.cancelled) { _ = try await task.value }
        #expect(try await proxy.log().last?.method == "DELETE")
        #expect(try await store.info(key("big")) == nil)
    }
}
