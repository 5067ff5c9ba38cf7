import Errors
import Foundation
import HTTP
import Persistence
import TestSupport
import Testing
import VolumeEvents

@testable import KubernetesEvents

/// Against a server with TLS, a token, Kubernetes' schema, and faults.
@Suite struct EventPosterTests {
    @Test func anEventIsPostedOnEachObjectAsKubernetesWantsIt() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        let time = Date(timeIntervalSince1970: 1_800_000_000.7)
        poster.tell(event(committed, claim: "results", at: time))
        let state = try await server.wait { $0.events.count == 2 }
        #expect(state.refused.isEmpty && state.requests.map(\.method) == ["POST", "POST"])
        #expect(state.requests.allSatisfy { $0.path == "/api/v1/namespaces/default/events" })
        for event in state.events {
            #expect(event.reason == "Committed" && event.type == "Normal" && event.action == "Unpublish")
            #expect(event.message.hasPrefix("volume default/results: committed generation 8: "))
            #expect(event.reportingComponent == "csi.perssd.io" && event.reportingInstance == "node-a")
            #expect(event.source.component == "csi.perssd.io" && event.source.host == "node-a")
            #expect(event.count == 1 && event.firstTimestamp == "2027-01-15T08:00:00Z")
            #expect(event.lastTimestamp == event.firstTimestamp)
            let object = event.involvedObject
            #expect(object.apiVersion == "v1" && object.uid == "uid-of-\(object.name)" && object.namespace == "default")
            #expect(event.metadata.name.hasPrefix("\(object.name)."))
        }
        #expect(Set(state.events.map(\.involvedObject.kind)) == ["Pod", "PersistentVolumeClaim"])
        #expect(poster.log.all.isEmpty)
    }

    @Test func warningsAreWarnings() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        poster.tell(event(.branchKept(.init(epoch: 2, base: 1, node: "node-a"))))
        #expect(try await server.wait { $0.events.count == 1 }.events[0].type == "Warning")
    }

    @Test func progressBringsOneEventUpToDate() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        let start = Date(timeIntervalSince1970: 1_800_000_000)
        for step in 1...3 {
            poster.tell(event(.stagingOut("staging out: \(step)%"), at: start + Double(step) * 60))
            _ = try await server.wait { $0.events.first?.count == step }
        }
        // Another volume's, another reason's, and what happens once, are others.
        poster.tell(event(.stagingOut("staging out: 1%"), volume: "w"))
        poster.tell(event(.restoring("restoring: 1%")))
        poster.tell(event(committed))
        poster.tell(event(committed))
        let state = try await server.wait { $0.events.count == 5 }
        let first = state.events[0]
        #expect(first.message.hasSuffix("3%") && first.count == 3)
        #expect(first.firstTimestamp == "2027-01-15T08:01:00Z" && first.lastTimestamp == "2027-01-15T08:03:00Z")
        #expect(state.refused.isEmpty && state.requests.count { $0.method == "PATCH" } == 2)

        // The server forgets after an hour.
        try await server.forgetEvents()
        poster.tell(event(.stagingOut("staging out: 4%")))
        let anew = try await server.wait { $0.events.count == 1 }
        #expect(anew.events[0].count == 1 && anew.events[0].message.hasSuffix("4%"))
        poster.tell(event(.stagingOut("staging out: 5%")))
        _ = try await server.wait { $0.events.first?.count == 2 }
    }

    @Test func progressThatComesTooSoonIsLeftOut() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server) { $0.interval = .seconds(3600) }
        for step in 1...5 { poster.tell(event(.stagingOut("staging out: \(step)%"))) }
        poster.tell(event(.stageOutFailed("one")))
        poster.tell(event(.stageOutFailed("two")))
        for _ in 1...2 { poster.tell(event(committed)) }
        let state = try await server.wait { $0.events.count == 4 }
        #expect(state.requests.count == 4)
        #expect(Set(state.events.map(\.message)).isSuperset(of: ["volume \(VolumeID(name: "v")): staging out: 1%"]))
    }

    @Test func theTokenIsReadAgain() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        poster.tell(event(committed))
        _ = try await server.wait { $0.events.count == 1 }
        try Data("second-token".utf8).write(to: URL(fileURLWithPath: server.tokenFile))
        poster.tell(event(committed))
        let state = try await server.wait { $0.events.count == 2 }
        #expect(state.requests.map(\.token) == ["first-token", "second-token"])
    }

    /// kubelet writes the new token a little after the old one has ended.
    @Test func aTokenThatHasEndedIsExchangedSoon() async throws {
        let server = try await FakeAPIServer()
        try await server.set(#"{"faults": [{"kind": "status", "status": 401, "times": 2}]}"#)
        let poster = try RunningPoster(server)
        poster.tell(event(committed))
        #expect(try await server.wait { $0.events.count == 1 }.requests.count == 3)
        #expect(poster.log.all.isEmpty)
    }

    @Test(arguments: [
        #"{"kind": "status", "status": 500, "times": 2}"#, #"{"kind": "status", "status": 503}"#,
        #"{"kind": "close", "times": 3}"#,
    ])
    func whatFailsInPassingIsTriedAgain(fault: String) async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        try await server.set(#"{"faults": [\#(fault)]}"#)
        poster.tell(event(committed))
        #expect(try await server.wait { $0.events.count == 1 }.refused.isEmpty)
        #expect(poster.log.all.isEmpty)
    }

    @Test func theServersWishToBeLeftAloneIsHonoured() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        try await server.set(#"{"faults": [{"kind": "status", "status": 429, "headers": {"Retry-After": "2"}}]}"#)
        poster.tell(event(committed))
        let requests = try await server.wait { $0.events.count == 1 }.requests
        #expect(requests.count == 2 && requests[1].at - requests[0].at >= 2)
    }

    /// Made, and not heard of: it is not made twice.
    @Test func anAnswerThatGetsLostMakesNoSecondEvent() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        try await server.set(#"{"faults": [{"kind": "lost", "method": "POST"}]}"#)
        poster.tell(event(.stagingOut("staging out: 1%")))
        _ = try await server.wait { $0.requests.count == 2 }
        try await server.set(#"{"faults": [{"kind": "lost", "method": "PATCH"}]}"#)
        poster.tell(event(.stagingOut("staging out: 2%")))
        let state = try await server.wait { $0.requests.count == 4 }
        #expect(state.events.map(\.count) == [2] && state.refused.isEmpty)
    }

    @Test func aConflictOfTwoChangesIsTriedAgain() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        poster.tell(event(.stagingOut("staging out: 1%")))
        _ = try await server.wait { $0.events.count == 1 }
        try await server.set(#"{"faults": [{"kind": "status", "status": 409, "method": "PATCH"}]}"#)
        poster.tell(event(.stagingOut("staging out: 2%")))
        _ = try await server.wait { $0.events.first?.count == 2 && $0.requests.count == 3 }
    }

    @Test(arguments: [
        (403, "create and patch events"), (404, "answers 404"), (401, "check the token"),
    ])
    func withoutTheRightItIsOffAndSaysSoOnce(status: Int, words: String) async throws {
        let server = try await FakeAPIServer()
        // Longer than this test needs to see that it is off, on a machine that is busy, too.
        let poster = try RunningPoster(server) { $0.rest = .seconds(8) }
        try await server.set(#"{"faults": [{"kind": "status", "status": \#(status), "times": 1000}]}"#)
        poster.tell(event(committed))
        var asked = 0
        for _ in 0..<400 where poster.log.all.isEmpty { try await Task.sleep(for: .milliseconds(50)) }
        asked = try await server.state().requests.count
        #expect(asked == (status == 401 ? 4 : 1))
        for _ in 0..<10 { poster.tell(event(committed)) }
        try await Task.sleep(for: .milliseconds(200))
        #expect(try await server.state().requests.count == asked, "it is off")
        // Now and then it looks, without a word.
        try await Task.sleep(for: .seconds(8))
        poster.tell(event(committed))
        _ = try await server.wait { $0.requests.count > asked }
        try await server.set(#"{"faults": []}"#)
        for _ in 0..<100 {
            poster.tell(event(committed))
            if try await !server.state().events.isEmpty { break }
            try await Task.sleep(for: .milliseconds(200))
        }
        _ = try await server.wait { !$0.events.isEmpty }
        for _ in 0..<100 where poster.log.all.count < 2 { try await Task.sleep(for: .milliseconds(50)) }
        let log = poster.log.all
        #expect(log.count == 2 && log[1] == "notice: events are posted again", "\(log)")
        #expect(log[0].contains("no events are posted") && log[0].contains(words), "\(log)")
        #expect(!"\(log)".contains("first-token"))
    }

    @Test func aNamespaceThatGoesAwayIsNoReasonToBeOff() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server)
        try await server.set(#"{"terminating": ["going"], "missing": ["gone"]}"#)
        for namespace in ["going", "gone", "default"] { poster.tell(event(committed, namespace: namespace)) }
        let state = try await server.wait { $0.events.count == 1 }
        #expect(state.requests.count == 3 && poster.log.all.isEmpty)
    }

    @Test func withoutATokenItIsOffAndSaysSoOnce() async throws {
        let server = try await FakeAPIServer()
        for (contents, words) in [(nil, "cannot be read"), ("a b\u{1}", "holds no token"), ("", "holds no token")] {
            let directory = try TemporaryDirectory("token")
            if let contents { try Data(contents.utf8).write(to: URL(fileURLWithPath: directory + "token")) }
            let poster = try RunningPoster(server, tokenFile: directory + "token")
            for _ in 0..<3 { poster.tell(event(committed)) }
            for _ in 0..<400 where poster.log.all.isEmpty { try await Task.sleep(for: .milliseconds(50)) }
            #expect(poster.log.all.count == 1 && poster.log.all[0].contains(words), "\(poster.log.all)")
        }
        #expect(try await server.state().requests.isEmpty)
    }

    @Test func aServerOfAnotherAuthorityGetsNoToken() async throws {
        let server = try await FakeAPIServer()
        let others = try await TestCertificates(for: "IP:127.0.0.1")
        let poster = try RunningPoster(server, authority: others.authority)
        poster.tell(event(committed))
        for _ in 0..<400 where poster.log.all.isEmpty { try await Task.sleep(for: .milliseconds(50)) }
        #expect(poster.log.all.count == 1 && poster.log.all[0].contains("certificate does not verify"))
        #expect(try await server.state().requests.isEmpty)
        #expect(throws: PerSSDError.self) { _ = try RunningPoster(server, authority: "/nowhere/ca.crt") }
    }

    @Test func aServerThatHangsHoldsNobodyUpAndProgressIsLeftOutFirst() async throws {
        let server = try await FakeAPIServer()
        let poster = try RunningPoster(server) {
            $0.queueLimit = 4
            $0.timeouts = HTTPTimeouts(connect: .seconds(1), stall: .seconds(1), total: .seconds(1))
        }
        server.hold()
        poster.tell(event(committed, volume: "under way"))
        try await Task.sleep(for: .milliseconds(300))
        let start = ContinuousClock.now
        for step in 1...1000 {
            poster.tell(event(.stagingOut("staging out: \(step)%"), volume: "v\(step % 10)"))
            poster.tell(
                event(.restored(.init(1, older: nil, bytes: 1, receivedBytes: 1, duration: .zero)), volume: "r\(step)"))
        }
        for name in ["a", "b", "c"] { poster.tell(event(.stageOutFailed(name), volume: name)) }
        // 2003 of them, each of which would wait for a second if any did.
        #expect(ContinuousClock.now - start < .seconds(60))
        // Longer than one request: it is tried again, and nothing is given up.
        try await Task.sleep(for: .seconds(1.5))
        server.goOn()
        let reasons = try await server.wait { $0.events.count == 5 }.events.map(\.reason)
        #expect(reasons.filter { $0 == "StageOutFailed" }.count == 3)
        #expect(reasons.filter { $0 == "Restored" }.count == 1 && reasons.filter { $0 == "Committed" }.count == 1)
        #expect(poster.log.all.isEmpty, "\(poster.log.all)")
    }

    @Test func aServerThatIsAwayForLongIsToldOfOnce() async throws {
        let server = try await FakeAPIServer()
        server.kill()
        let poster = try RunningPoster(server) { $0.unanswered.maximumAttempts = 3 }
        for _ in 0..<5 { poster.tell(event(committed)) }
        for _ in 0..<400 where poster.log.all.isEmpty { try await Task.sleep(for: .milliseconds(50)) }
        try await Task.sleep(for: .seconds(1))
        #expect(poster.log.all.count == 1 && poster.log.all[0].contains("cannot be posted now"), "\(poster.log.all)")
    }

    @Test func whatWaitsAtTheEndIsPostedAndNotWaitedForForLong() async throws {
        let server = try await FakeAPIServer()
        try await server.set(#"{"faults": [{"kind": "status", "status": 500, "times": 1}]}"#)
        let poster = try RunningPoster(server) {
            $0.answered = RetryPolicy(maximumAttempts: 4, firstDelay: .seconds(60), maximumDelay: .seconds(60))
            $0.flush = .seconds(10)
        }
        poster.tell(event(committed, volume: "a"))
        poster.tell(event(committed, volume: "b"))
        _ = try await server.wait { $0.requests.count == 1 }
        await poster.end()
        #expect(try await server.state().events.count == 2)

        let second = try RunningPoster(server) { $0.flush = .seconds(1) }
        server.hold()
        second.tell(event(committed))
        try await Task.sleep(for: .milliseconds(200))
        let start = ContinuousClock.now
        await second.end()
        #expect(ContinuousClock.now - start < .seconds(15), "the bound of a request is 20 s")
        server.goOn()
    }
}
