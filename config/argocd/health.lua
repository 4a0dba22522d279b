-- The health of an ACL, a Grant, a Group, a Job or a JobRun, as Argo CD asks for it. One script for all five: it reads
-- only what they have in common. Healthy is what nobody has to wait for and nobody has to mend.

local function answer(status, message)
  return {status = status, message = message}
end

local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return answer("Progressing", "Grantry has not looked at this generation yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready
if ready == nil then
  return answer("Progressing", "Grantry has not said yet whether it is ready")
end
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  return answer("Degraded", conditions.Stalled.message)
end

-- A Grant whose time has not come or has passed is as planned.
local planned = obj.kind == "Grant" and (ready.reason == "Expired" or ready.reason == "NotYetInForce")
if ready.status ~= "True" and not planned then
  return answer("Progressing", ready.message)
end

-- What a person would look for next. How a run went, and whether a Job may be launched, is no matter of health.
local message = ready.message
if conditions.Succeeded ~= nil then
  message = conditions.Succeeded.reason .. ": " .. conditions.Succeeded.message
elseif obj.kind == "Job" and obj.spec.suspend == true then
  -- Not the health Suspended: a sync would wait for it before it goes on to the next wave.
  message = "Suspended: runs wait until spec.suspend is false"
elseif conditions.Authorized ~= nil and conditions.Authorized.status ~= "True" then
  message = "Can't be launched: " .. conditions.Authorized.message
end
return answer("Healthy", message)
