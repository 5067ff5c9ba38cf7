import HTTP
import Testing

@testable import Persistence

@Suite struct S3AddressTests {
    @Test func theBucketStandsWhereTheServerWantsIt() throws {
        func address(
            _ bucket: String, _ endpoint: String?, _ addressing: S3Configuration.Addressing, _ key: String?
        ) throws -> String {
            var configuration = try S3Configuration(bucket: bucket, endpoint: endpoint)
            configuration.addressing = addressing
            let address = S3Address(configuration, key: key)
            return address.host + address.path
        }
        let own = "http://store:9000"
        #expect(try address("data", own, .automatic, "a/b") == "store:9000/data/a/b")
        #expect(try address("data", own, .automatic, nil) == "store:9000/data")
        #expect(try address("data", own, .virtualHost, "a/b") == "data.store:9000/a/b")
        #expect(try address("data", own, .virtualHost, nil) == "data.store:9000/")
        #expect(try address("data", nil, .automatic, "k") == "data.s3.us-east-1.amazonaws.com/k")
        #expect(try address("data", nil, .path, "k") == "s3.us-east-1.amazonaws.com/data/k")
        #expect(try address("my.data", nil, .automatic, "k") == "s3.us-east-1.amazonaws.com/my.data/k")
        #expect(try address("data", own, .path, "a b/é") == "store:9000/data/a%20b/%C3%A9")
    }
}

@Suite struct RetryPolicyTests {
    private let policy = RetryPolicy(
        maximumAttempts: 5, maximumTime: .seconds(60), firstDelay: .milliseconds(100), maximumDelay: .seconds(1))

    private func delay(_ failures: Int, elapsed: Duration = .zero, demanded: Duration? = nil, jitter: Double = 1)
        -> Duration?
    {
        policy.delay(afterFailures: failures, elapsed: elapsed, demanded: demanded, jitter: jitter)
    }

    @Test func theBoundDoublesUpToTheLongestWaitAndTheWaitIsAnywhereBelow() {
        #expect(delay(1) == .milliseconds(100) && delay(2) == .milliseconds(200) && delay(4) == .milliseconds(800))
        #expect(delay(4, jitter: 0.5) == .milliseconds(400))
        #expect(delay(3, jitter: 0) == .zero)
        var patient = policy
        patient.maximumAttempts = .max
        #expect(patient.delay(afterFailures: 1000, elapsed: .zero, demanded: nil, jitter: 1) == .seconds(1))
    }

    @Test func attemptsAndTimeAreBounded() {
        #expect(delay(5) == nil)
        #expect(delay(1, elapsed: .seconds(60)) == nil)
        #expect(delay(1, elapsed: .seconds(59)) != nil)
    }

    @Test func theServersWishIsALowerBound() {
        #expect(delay(1, demanded: .seconds(7), jitter: 0) == .seconds(7))
        #expect(delay(4, demanded: .milliseconds(1), jitter: 1) == .milliseconds(800))
        #expect(delay(1, demanded: .seconds(61)) == nil)
    }
}
