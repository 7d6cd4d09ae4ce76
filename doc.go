// Package fanfare is the vocabulary of Fanfare, a mass-messaging server: the words, numbers, states and contracts
// that every other package speaks. It does no I/O.
//
// A broadcast is a set, not a million rows. Recipients are numbered densely, every state is a set of these numbers, and
// what remains to be done is one subtraction:
//
//	remaining = audience − sent − failed − skipped − uncertain − in_flight
//
// # Glossary
//
//   - message 消息: what is sent to many: content, channel, audience, schedule, status. See [Message].
//   - recipient 接收人: a person, known by your external id; has addresses, attributes, locale, time zone. See [Recipient].
//   - address 地址: a way to reach a recipient on one channel.
//   - slot 槽, seq 序号: a recipient's number: slot is a stable hash of the external id modulo the number of slots, seq a dense
//     number inside the slot that is never used again. See [Slot], [Seq], [SlotOf].
//   - shard 分片: one database that holds some slots.
//   - list 名单: a fixed set of recipients; segment 人群: a saved rule that yields one.
//   - audience 受众: the set of one message, frozen when it starts: the planned, and one part for each reason to skip. See [Part].
//   - batch 批次: the unit of work: a rank range of at most 500 planned recipients of one slot (inbox: one stored row of the audience, at most 65,536). See [Batch].
//   - chunk 小批: what one connection journals as in flight together.
//   - task 任务: the hint on a queue that a batch is ready. See [Task].
//   - item 投递项: one message for one recipient. See [Item].
//   - result 结果: pending 待发送, in_flight 发送中, sent 已发送, failed 失败, skipped 已跳过, uncertain 结果未知; exactly one at a time. See [Result].
//   - remaining 剩余: counts the pending, first try or retry.
//   - uncertain 结果未知: handed to a provider, answer unknown. Never counted as sent or failed.
//   - doubted 曾存疑: whoever was ever in doubt, also when the resend was answered: the exact list of who may have got two.
//   - receipt 回执: what is learned later: delivered 已送达, bounced 退信, complained 投诉, seen 已看到, read 已读, clicked 已点击, archived 已归档. See [Receipt].
//   - channel 渠道: inbox 站内信, email, null (webhook later); provider 服务商: one configured account of a channel. See [Channel], [Provider].
//   - suppression 免打扰: do-not-send: unsubscribed, bounced, complained, erased. See [Suppression].
//   - latch 闩: the two small rows of a slot that every writer reads with a share lock and every stopper updates. See [Latch].
//   - generation 代: a number on a message that rises with each pause, resume and cancel; older tasks are stale. See [Generation].
//   - claim 认领, lease 租约, fence 栅栏, step 步: a node's hold on a batch, its time limit, the number that makes a late holder's
//     writes fail, the number of its last journal write. See [Claim], [Record].
//   - revision 修订: a change of content after creation; recall 撤回: taking an inbox message back. See [Recall].
//   - scope 范围: whom a resume means: what remains, or the failed or the uncertain, who then remain again. See [Scope].
//   - settle 判定: a person, or a receipt, says what became of an uncertain item. See [Settle].
//   - trigger 触发: what a scheduled message waits for, an event or the end of another message. See [Trigger].
//
// # Where the rules are
//
// [Next] is the state machine of messages, the only place that decides a transition. [Claim.Decide], [Record.Decide] and
// [Amend.Decide] are the only places that decide what a claim, a journal write and whoever else changes a batch do to it: a store reads
// the rows under the latch, asks them, and writes what they answer in the same transaction. [Store], [Queue] and [Channel] are the contracts; storetest, queuetest and
// channeltest say what they promise.
package fanfare
