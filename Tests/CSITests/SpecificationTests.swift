import CCSI
import Foundation
import RPC
import Testing

@testable import CSI

/// proto/csi.proto and what is made of it, held against the facts of CSI v1.12.0.
@Suite struct SpecificationTests {
    let facts: [Fact]

    init() throws { facts = try Fact.specification() }

    @Test func factsAreThoseOfTheSpecification() {
        #expect(facts.count == 275)
        #expect(facts.messageNames.count == 94)
    }

    @Test func compiledDescriptorsAreTheFacts() {
        let compiled = CompiledFacts(services: [
            csi__v1__identity__descriptor, csi__v1__controller__descriptor, csi__v1__group_controller__descriptor,
            csi__v1__snapshot_metadata__descriptor, csi__v1__node__descriptor,
        ])
        let expected = Set(facts.map { CompiledFacts.line(of: $0, among: facts) })
        #expect(expected.count == facts.count)
        for line in expected.subtracting(compiled.lines) { Issue.record("missing: \(line)") }
        for line in compiled.lines.subtracting(expected) { Issue.record("not in the specification: \(line)") }
        #expect(compiled.messages == facts.messageNames)
    }

    /// What protobuf-c's descriptors do not hold, too: streams, options, names of oneofs, messages out of reach.
    @Test func protoFileIsTheFacts() async throws {
        let output = Fact.lines(try await python("facts.py")).map { $0.split(separator: "\t").map(String.init) }
        let lines = Set(output.filter { $0[0] != "message" })
        let expected = Set(facts.map(\.columns))
        for line in expected.subtracting(lines) { Issue.record("missing: \(line)") }
        for line in lines.subtracting(expected) { Issue.record("not in the specification: \(line)") }
        #expect(Set(output.filter { $0[0] == "message" }.map { $0[1] }) == facts.messageNames)
    }

    @Test func swiftHasEveryMessage() {
        #expect(Set(allMessages.map { $0.fullName }) == facts.messageNames)
        for type in allMessages {
            let coded = type as? any CodedMessage.Type
            #expect(coded.map { String(cString: $0.descriptor.pointee.name) } == type.fullName)
        }
    }

    @Test func swiftHasEveryEnumValue() {
        func check<Enum: CSIEnum>(_ type: Enum.Type, _ owner: String) {
            let values = facts.filter { $0.owner == owner }.map { "\($0.name) \($0.number)" }
            #expect(type.allCases.map { "\($0.name) \($0.rawValue)" } == values, "\(owner)")
            #expect(type.allCases.allSatisfy { Enum(rawValue: $0.rawValue) == $0 })
            #expect(Enum(rawValue: 1234).rawValue == 1234)
            #expect(Enum(rawValue: -1).description == "-1")
        }
        check(PluginCapability.Service.Kind.self, "csi.v1.PluginCapability.Service.Type")
        check(PluginCapability.VolumeExpansion.Kind.self, "csi.v1.PluginCapability.VolumeExpansion.Type")
        check(VolumeCapability.AccessMode.Mode.self, "csi.v1.VolumeCapability.AccessMode.Mode")
        check(ControllerServiceCapability.RPC.Kind.self, "csi.v1.ControllerServiceCapability.RPC.Type")
        check(GroupControllerServiceCapability.RPC.Kind.self, "csi.v1.GroupControllerServiceCapability.RPC.Type")
        check(NodeServiceCapability.RPC.Kind.self, "csi.v1.NodeServiceCapability.RPC.Type")
        check(VolumeUsage.Unit.self, "csi.v1.VolumeUsage.Unit")
        check(BlockMetadataType.self, "csi.v1.BlockMetadataType")
        #expect(Set(facts.filter { $0.kind == "enum" }.map(\.owner)).count == 8)
    }

    @Test func servedMethodsAreTheFacts() {
        let methods = everyMethod(of: EmptyPlugin()).map { method in
            switch method.handler {
            case .unary: "\(method.path) unary"
            case .serverStreaming: "\(method.path) server-stream"
            case .bidirectional: "\(method.path) bidirectional"
            }
        }
        let expected = facts.filter { $0.kind == "rpc" }.map { "/\($0.owner)/\($0.name) \($0.label)" }
        #expect(methods.sorted() == expected.sorted())
    }
}
