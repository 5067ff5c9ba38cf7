import Digests
import Foundation
import HTTP
import TestSupport
import Testing

@testable import Persistence

@Suite struct RequestSignerTests {
    private struct Example {
        var method = "GET"
        var path = "/"
        var query: [(name: String, value: String)] = []
        var headers: HTTPHeaders
        var payload = ""
        let signature: String
    }

    /// The examples in "Authenticating requests: using the Authorization header" of the S3 API reference.
    @Test func theExamplesOfTheS3ReferenceGetTheirSignatures() throws {
        let credentials = S3Credentials(
            accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        let host = "examplebucket.s3.amazonaws.com"
        let examples = [
            Example(
                path: "/test.txt", headers: ["Host": host, "Range": "bytes=0-9"],
                signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            Example(
                method: "PUT", path: "/test%24file.text",
                headers: [
                    "Host": host, "Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY",
                ],
                payload: "Welcome to Amazon S3.",
                signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            Example(
                query: [("lifecycle", "")], headers: ["Host": host],
                signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            Example(
                query: [("prefix", "J"), ("max-keys", "2")], headers: ["Host": host],
                signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ]
        let time = Date(timeIntervalSince1970: 1_369_353_600)
        for example in examples {
            let digest = SHA256.digest(example.payload).hex
            var headers = example.headers
            headers["x-amz-content-sha256"] = digest
            headers["x-amz-date"] = ServerDates.signatureTime(time)
            let parts = RequestSigner.Parts(
                method: example.method, path: example.path, query: example.query, headers: headers,
                payloadDigest: digest)
            let value = RequestSigner(region: "us-east-1", service: "s3")
                .authorization(parts, credentials: credentials, time: time)
            #expect(value.hasSuffix("Signature=\(example.signature)"))
            #expect(
                value.hasPrefix("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"))
        }
    }

    /// What botocore, which shares nothing with PerSSD, makes of the same requests.
    @Test func botocoreSignsAlike() async throws {
        struct Case: Codable {
            var method: String
            var url: String
            var headers: [String: String]
            var region: String
            var token: String?
            var authorization: String?
            var sent: [String: String]?
        }
        let key = "wJalr/K7+MD&ENG=key"
        let time = Date(timeIntervalSince1970: 1_790_000_000)
        let paths = ["/", "/b/a-b_c.d~e", "/b/%20sp%C3%A4ce/%2B%26%3D%3F%23/x%2Fy", "/b/..a/.../%25", "/b//double/"]
        let queries: [[(name: String, value: String)]] = [
            [], [("uploads", "")], [("list-type", "2"), ("prefix", "a%2Fb"), ("continuation-token", "x%2B%3D%3D")],
            [("b", "2"), ("a-b", "3"), ("a", "1"), ("a%20", "4"), ("A", "5"), ("a", "0")],
        ]
        var cases: [Case] = []
        var mine: [String] = []
        for (index, path) in paths.enumerated() {
            for (other, query) in queries.enumerated() {
                let token = (index + other) % 2 == 0 ? "session/+token==" : nil
                let text = query.map { "\($0.name)=\($0.value)" }.joined(separator: "&")
                let extra = ["x-amz-meta-Mixed": "two  blanks", "If-Match": "\"tag\"", "Range": "bytes=0-9"]
                cases.append(
                    Case(
                        method: other % 2 == 0 ? "GET" : "PUT",
                        url: "http://host:81\(path)\(text.isEmpty ? "" : "?\(text)")",
                        headers: extra, region: "eu-west-\(other)", token: token))
                var headers: HTTPHeaders = ["Host": "host:81", "X-Amz-Content-SHA256": SHA256.digest("body").hex]
                for (name, value) in extra { headers[name] = value }
                headers["X-Amz-Date"] = ServerDates.signatureTime(time)
                if let token { headers["X-Amz-Security-Token"] = token }
                let parts = RequestSigner.Parts(
                    method: other % 2 == 0 ? "GET" : "PUT", path: path, query: query, headers: headers,
                    payloadDigest: SHA256.digest("body").hex)
                let credentials = S3Credentials(accessKeyID: "AKID", secretAccessKey: key, sessionToken: token)
                mine.append(
                    RequestSigner(region: "eu-west-\(other)", service: "s3")
                        .authorization(parts, credentials: credentials, time: time))
            }
        }
        let directory = try TemporaryDirectory("sign")
        try JSONEncoder().encode(cases).write(to: URL(fileURLWithPath: directory + "cases.json"))
        let output = try await TestCommand.run(
            PackageRoot.virtualEnvironmentProgram("python3"),
            [
                "\(PackageRoot.path)/Tests/S3Tests/Scripts/sign_with_botocore.py", directory + "cases.json", "AKID",
                key, "1790000000",
            ])
        let theirs = try JSONDecoder().decode([String].self, from: Data(output.utf8))
        #expect(theirs.count == cases.count)
        for (a, b) in zip(mine, theirs) { #expect(a == b) }
    }

    @Test func encodingKeepsOnlyUnreservedCharactersAndIsUndone() {
        #expect(PercentEncoding.encode("a/b c+~é", keepingSlashes: true) == "a/b%20c%2B~%C3%A9")
        #expect(PercentEncoding.encode("a/b") == "a%2Fb")
        #expect(PercentEncoding.decode("a%2Fb+c%C3%A9") == "a/b cé")
        for text in ["%", "%4", "%zz", "%FF"] { #expect(PercentEncoding.decode(text) == nil, "\(text)") }
    }

    @Test func datesAreReadAndWritten() {
        let date = Date(timeIntervalSince1970: 1_795_469_894)
        #expect(ServerDates.signatureTime(date) == "20261123T213814Z")
        #expect(ServerDates.parseHTTP("Mon, 23 Nov 2026 21:38:14 GMT") == date)
        #expect(ServerDates.parseInternet("2026-11-23T21:38:14Z") == date)
        #expect(ServerDates.parseInternet("2026-11-23T21:38:14.500Z") == date.addingTimeInterval(0.5))
        for text in ["", "yesterday", "Mon, 23 Foo 2026 21:38:14 GMT", "Mon, 23 Nov 2026 25:38:14 GMT", "1 2 3 4 5"] {
            #expect(ServerDates.parseHTTP(text) == nil, "\(text)")
        }
        for text in ["", "2026-11-23", "2026-11-23T21:38:14", "2026-13-23T21:38:14Z", "2026-11-23T21:38Z"] {
            #expect(ServerDates.parseInternet(text) == nil, "\(text)")
        }
    }
}
