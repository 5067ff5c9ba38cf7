import Errors
import Foundation
import HTTP
import Persistence
import Testing
import VolumeEvents

@testable import KubernetesEvents

@Suite struct APIServerTests {
    @Test func isFoundAsKubernetesTellsIt() throws {
        let account = "/var/run/secrets/kubernetes.io/serviceaccount"
        let four = try APIServer.find(environment: [
            "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443",
        ])
        #expect(
            four
                == APIServer(
                    url: "https://10.96.0.1:443", tokenFile: "\(account)/token",
                    certificateAuthorities: "\(account)/ca.crt"))
        let six = try APIServer.find(environment: [
            "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443",
        ])
        #expect(six.url == "https://[fd00::1]:6443")
    }

    @Test func whatIsGivenWins() throws {
        let environment = ["KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"]
        let given = try APIServer.find(
            url: "https://api:1", tokenFile: "/t", certificateAuthorities: "/c", environment: environment)
        #expect(given == APIServer(url: "https://api:1", tokenFile: "/t", certificateAuthorities: "/c"))
        // A server of one's own choice is not the cluster's.
        #expect(try APIServer.find(url: "https://api:1", environment: environment).certificateAuthorities == nil)
    }

    @Test(arguments: [
        [:], ["KUBERNETES_SERVICE_HOST": "a"], ["KUBERNETES_SERVICE_PORT": "1"],
        ["KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""],
    ])
    func outsideOfAClusterThereIsNone(environment: [String: String]) throws {
        let error = try #require(throws: PerSSDError.self) { try APIServer.find(environment: environment) }
        #expect(error.code == .notFound && "\(error)".contains("--kubernetes-api-server"))
    }
}

@Suite struct NoticeTests {
    @Test func whoeverCannotBeNamedIsNotTold() {
        #expect(Notice.all(of: event(committed, claim: "results")).count == 2)
        var unknown = event(committed, claim: "results")
        unknown.claim?.uid = nil
        #expect(Notice.all(of: unknown).map(\.object.kind) == [.pod])
        for name in ["", "a/b", "A", "../x", String(repeating: "a", count: 254), "a?b"] {
            #expect(Notice.all(of: event(committed, pod: name)).isEmpty, "\(name)")
        }
        #expect(Notice.all(of: event(committed, namespace: "a.b")).isEmpty)
    }

    @Test func notesAreOneLineOf1024BytesAtTheMost() {
        #expect(Notice.shortened("a\nb\r\nc") == "a b c")
        #expect(Notice.shortened(String(repeating: "a", count: 1024)).utf8.count == 1024)
        let long = Notice.shortened(String(repeating: "é", count: 1000))
        #expect(long.utf8.count == 1024 && long.hasSuffix("é ..."))
    }

    @Test func namesOfEventsAreNamesOfObjects() throws {
        let names = (0..<100).map { _ in EventObject.name(for: "pod") }
        #expect(Set(names).count == 100 && names.allSatisfy { $0.hasPrefix("pod.") && $0.utf8.count == 20 })
        let long = EventObject.name(for: String(repeating: "a", count: 235) + "." + String(repeating: "b", count: 17))
        #expect(
            long.utf8.count <= 253 && long.hasPrefix(String(repeating: "a", count: 235) + ".") && !long.contains(".."))
    }
}

@Suite struct NoticeQueueTests {
    private func notice(_ occurrence: Occurrence, _ volume: String) -> Notice {
        Notice.all(of: event(occurrence, volume: volume))[0]
    }

    @Test func ofASeriesTheNewestWaits() {
        var queue = NoticeQueue(limit: 3)
        for step in 1...5 { #expect(queue.add(notice(.stagingOut("\(step)"), "a")) == nil) }
        #expect(queue.count == 1 && queue.next()?.note.hasSuffix(": 5") == true && queue.isEmpty)
        for _ in 1...3 { #expect(queue.add(notice(committed, "a")) == nil) }
        #expect(queue.count == 3)
    }

    @Test func theLeastImportantGoesFirstAndOfThoseTheOldest() {
        var queue = NoticeQueue(limit: 3)
        let warning = notice(.stageOutFailed("x"), "w")
        let (first, second) = (notice(.restoring("x"), "a"), notice(.restoring("x"), "b"))
        let normal = notice(committed, "n")
        for one in [warning, first, second] { #expect(queue.add(one) == nil) }
        #expect(queue.add(normal) == first)
        #expect(queue.add(notice(committed, "m")) == second)
        #expect(queue.add(notice(.stagingOut("x"), "p"))?.reason == .stagingOut)
        #expect(queue.add(notice(.cutFailed("x"), "c")) == normal)
        #expect(queue.next() == warning && queue.clear() == 2 && queue.next() == nil)
    }
}

@Suite struct PostedSeriesTests {
    private let series = Notice.all(of: event(.stagingOut("x")))[0].series

    @Test func isGoneOnWithForAWhile() {
        var known = PostedSeries(limit: 2, lifetime: .seconds(10))
        let start = ContinuousClock.now
        #expect(known.posted(series, at: start) == nil)
        known.note(.init(name: "e", count: 1), of: series, at: start)
        #expect(known.posted(series, at: start + .seconds(9)) == .init(name: "e", count: 1))
        #expect(known.posted(series, at: start + .seconds(10)) == nil)
        known.forget(series)
        #expect(known.posted(series, at: start) == nil)
    }

    @Test func theOldestAreForgottenWhereThereAreMany() {
        var known = PostedSeries(limit: 2, lifetime: .seconds(100))
        let start = ContinuousClock.now
        let all = ["a", "b", "c"].map { Notice.all(of: event(.stagingOut("x"), volume: $0))[0].series }
        for (index, one) in all.enumerated() {
            known.note(.init(name: "e", count: 1), of: one, at: start + .seconds(index))
        }
        #expect(all.map { known.posted($0, at: start + .seconds(3)) != nil } == [false, true, true])
    }
}

@Suite struct APIAnswerTests {
    private func meaning(_ status: Int, _ body: String = "", isChange: Bool = false) -> APIAnswer.Meaning {
        APIAnswer(HTTPResponse(status: status, headers: [:], body: Array(body.utf8))).meaning(isChange: isChange)
    }

    @Test func aStatusSaysWhatItMeans() {
        #expect(meaning(201) == .done && meaning(200, isChange: true) == .done)
        #expect(meaning(409) == .exists && meaning(409, isChange: true) == .busy)
        #expect(meaning(404) == .forbidden && meaning(404, isChange: true) == .gone)
        #expect(meaning(404, #"{"details": {"kind": "namespaces"}}"#) == .refused)
        #expect(meaning(403) == .forbidden && meaning(403, "no JSON") == .forbidden)
        #expect(meaning(403, #"{"details": {"causes": [{"reason": "NamespaceTerminating"}]}}"#) == .refused)
        #expect(meaning(401) == .unknownCaller && meaning(422) == .refused && meaning(400) == .refused)
        #expect([408, 429, 500, 503, 504].allSatisfy { meaning($0) == .busy })
        #expect(meaning(302) == .refused)
    }

    @Test(arguments: [("7", Duration.seconds(7) as Duration?), ("-1", nil), ("99999", nil), ("soon", nil)])
    func theDemandedDelayIsInSeconds(text: String, delay: Duration?) {
        let response = HTTPResponse(status: 429, headers: ["Retry-After": text], body: [])
        #expect(APIAnswer(response).demandedDelay == delay)
    }
}
